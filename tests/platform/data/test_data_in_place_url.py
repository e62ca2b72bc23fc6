"""Shards of others at a URL: fetched once, indexed, and read from the local copies."""

import io

import numpy as np
import pytest
import webdataset
from data_server import Faults, serve
from PIL import Image

from blear.data.decoded.store import Store
from blear.data.prepare.run import prepare_dataset
from blear.errors import DataError
from blear.plugin.component_ref import ComponentRef


@pytest.fixture
def shards(tmp_path, monkeypatch):
    """Two shards of three samples with pictures of one grey each."""
    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "served").mkdir()
    with webdataset.ShardWriter(str(tmp_path / "served" / "a-%03d.tar"), maxcount=3, verbose=0) as writer:
        for number in range(6):
            stream = io.BytesIO()
            Image.new("L", (8, 8), number * 10).save(stream, "png")
            writer.write({"__key__": f"{number}", "png": stream.getvalue(), "cls": number % 2})
    return tmp_path / "served"


def prepare(folder, url, **params):
    params = {"targets": {"emotion": "cls"}, "color": "grey", "splits": {"train": "a-{000..001}.tar"}, **params}
    ref = ComponentRef("dataset", "own_data/webdataset", {"source": url, **params})
    return prepare_dataset(ref, folder / "prepared", version="1", workers=1)


def greys(prepared):
    store = Store.open(prepared, "train")
    return store.take(np.arange(len(store))).frames.flatten(1).float().mean(1).tolist()


def test_a_shard_is_fetched_once_and_again_after_its_copy_is_deleted(shards, tmp_path):
    with serve(shards) as (url, seen):
        prepared = prepare(tmp_path, url)
        assert [shard.place for shard in prepared.split("train").shards] == [f"{url}/a-{n:03d}.tar" for n in range(2)]
        assert greys(prepared) == [0, 10, 20, 30, 40, 50]
        assert seen.count() == 2
        assert prepare(tmp_path, url).folder == prepared.folder
        assert seen.count() == 2
        for copy in (tmp_path / "cache" / "remote").rglob("a-*.tar"):
            copy.unlink()
        assert prepared.verify() == 2
        assert seen.count() == 4
        assert seen.count(".idx") == 0  # others have no indexes


def test_a_broken_connection_is_tried_again(shards, tmp_path):
    with serve(shards, Faults(times=1, cut_at=2000)) as (url, seen):
        assert greys(prepare(tmp_path, url)) == [0, 10, 20, 30, 40, 50]
        assert seen.count() == 4


def test_missing_and_changed_shards_are_named(shards, tmp_path):
    with serve(shards) as (url, _):
        with pytest.raises(DataError, match=r"a-002\.tar: there is no such file"):
            prepare(tmp_path, url, splits={"train": "a-{001..002}.tar"})
        prepared = prepare(tmp_path, url)
        for copy in (tmp_path / "cache" / "remote").rglob("a-*.tar"):
            copy.unlink()
        (shards / "a-001.tar").unlink()
        with pytest.raises(DataError, match=r"a-001\.tar: there is no such file"):
            greys(prepared)
