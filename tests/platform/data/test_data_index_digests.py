"""An index is used only if it is the index of the shard that dataset.json states, in a folder and at a URL."""

import json
import os
import resource
import shutil
from dataclasses import replace

import numpy as np
import pytest
from data_server import QUICK, serve
from data_toy import prepare_toy

from blear.data.dataset_info import DatasetInfo
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
from blear.data.sampling.sampling_groups import SplitColumns
from blear.data.shard.archive import Shard, index_path
from blear.data.shard.index import ShardIndex
from blear.data.shard.sample_codec import decode_sample, encode_sample
from blear.data.shard.tar_index import build_index
from blear.data.shard.writer import ShardWriter
from blear.data.split_manifest import _split_entry
from blear.errors import DataError

N = 12


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of remote shards."""
    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "remote"


@pytest.fixture
def old(tmp_path):
    (tmp_path / "old").mkdir()
    return prepare_toy(tmp_path / "old", samples=6, kind="floats")


@pytest.fixture
def copied(tmp_path, old):
    """Corrected labels: tars of equal size and dataset.json copied over `old`; the indexes stay the old ones."""
    new = tmp_path / "new"
    shutil.copytree(old.folder, new)
    facts = json.loads((new / "dataset.json").read_text())

    for number, info in enumerate(old.split("train").shards):
        with Shard.open(old.folder / info.name) as shard:
            samples = [decode_sample(key, shard.read(n), "") for n, key in enumerate(shard.index.keys)]
        with ShardWriter(new / "written.tar") as writer:
            for sample in samples:
                writer.add(sample.key, encode_sample(replace(sample, targets=corrected(sample.targets))))
            written = writer.close(info.name)
        assert written.bytes == info.bytes
        shutil.copy(new / "written.tar", new / info.name)  # not its index
        facts["splits"]["train"]["shards"][number] = written.model_dump()
    (new / "dataset.json").write_text(json.dumps(facts))
    return Prepared.open(new)


def corrected(targets):
    return {**targets, "emotion": 1 - targets["emotion"]}


def labels(prepared, cache_gb=None):
    return Store.open(prepared, "train", cache_gb=cache_gb).take(np.arange(N)).targets["emotion"].tolist()


@pytest.mark.parametrize("cache_gb", [None, 0])
def test_labels_are_those_of_the_tar_under_a_stale_index(old, copied, cache_gb):
    before = labels(old)
    assert before == [0, 1] * 6
    with pytest.raises(
        DataError, match=r"(?s)2 of 4 shards are wrong:.*idx: the index is damaged or belongs to another"
    ):
        copied.verify()
    assert labels(copied, cache_gb) == [1, 0] * 6
    assert copied.verify() == 4  # the index was built again
    assert SplitColumns.read(copied, "train", ["emotion"]).columns["emotion"].codes_N.tolist() == [1, 0] * 6


def test_keys_and_groups_do_not_use_a_stale_index(copied):
    assert SplitColumns.read(copied, "train", ["emotion"]).columns["emotion"].codes_N.tolist() == [1, 0] * 6


def test_a_stale_index_at_a_url_is_not_used(copied):
    with serve(copied.folder) as (url, _):
        prepared = Prepared.open(url, retry=QUICK)
        with pytest.raises(DataError, match="2 of 4 shards are wrong:"):
            prepared.verify()
        assert SplitColumns.read(prepared, "train", ["emotion"]).columns["emotion"].codes_N.tolist() == [1, 0] * 6
        assert labels(prepared) == [1, 0] * 6


def test_a_tar_that_differs_from_dataset_json_gets_no_index(old):
    shard = old.shards("train")[0]
    shard.write_bytes(shard.read_bytes().replace(b'"emotion": 1', b'"emotion": 0'))
    index_path(shard).unlink()
    with pytest.raises(DataError, match="the content has changed: SHA-256"):
        labels(old)


def test_an_index_built_from_the_tar_is_the_written_one(old, tmp_path):
    for info in old.split("train").shards:
        path = old.folder / info.name
        assert ShardIndex.load(index_path(path)).shard_sha256 == info.sha256
        assert build_index(path, info.sha256).save(tmp_path / "x.idx") == info.index_sha256


def test_an_index_that_cannot_be_saved_is_built_each_time(old, capsys):
    (info, _) = old.split("train").shards
    index_path(old.folder / info.name).unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # no file can grow, as on a full disk
    try:
        assert len(old.index(info).keys) == 6
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large; the index is built again each time" in capsys.readouterr().err
    assert [path.name for path in (old.folder / "train").glob("00000-*")] == [f"{info.name.partition('/')[2]}"]


def test_a_damaged_index_is_built_again(old):
    beside = index_path(old.shards("train")[1])
    whole = beside.read_bytes()
    beside.write_bytes(b"BLEARIDX" + bytes(100))
    assert labels(old) == [0, 1] * 6
    assert beside.read_bytes() == whole


def test_a_dataset_of_format_2_is_read_after_its_digests_are_checked(old):
    """Its indexes carry no digest: each is built again once, from a shard whose digest was verified."""
    facts = json.loads((old.folder / "dataset.json").read_text())
    facts["format"] = 2
    for split in facts["splits"].values():
        for shard in split["shards"]:
            del shard["index_sha256"]
    (old.folder / "dataset.json").write_text(json.dumps(facts))
    shard = old.shards("train")[0]
    stale = ShardIndex.load(index_path(shard))
    object.__setattr__(stale, "values_NK", 1 - stale.values_NK)
    object.__setattr__(stale, "shard_sha256", "")
    stale.save(index_path(shard))
    prepared = Prepared.open(old.folder)
    assert labels(prepared) == [0, 1] * 6
    state = index_path(shard).stat()
    assert labels(Prepared.open(old.folder), 0) == [0, 1] * 6
    assert index_path(shard).stat().st_mtime_ns == state.st_mtime_ns  # built once
    assert prepared.verify() == 4


def test_the_split_manifest_names_corrected_labels(old, copied):
    assert _split_entry(old, "train").content_sha256 != _split_entry(copied, "train").content_sha256
    assert _split_entry(old, "train").keys_sha256 == _split_entry(copied, "train").keys_sha256


def test_groups_and_lengths_at_a_url_fetch_indexes_and_no_shard(old):
    with serve(old.folder) as (url, seen):
        prepared = Prepared.open(url, retry=QUICK)
        SplitColumns.read(prepared, "train", ["emotion"])
        store = Store.open(prepared, "train")
        store.lengths(np.arange(N))
        store.keys(np.arange(N))
        store.metadata(np.arange(N))
        assert (seen.count(".tar"), seen.count(".idx")) == (0, 2)
        store.take(np.arange(6))
        assert (seen.count(".tar"), seen.count(".idx")) == (1, 2)


def test_an_old_index_file_at_a_url_of_format_2_is_replaced_by_the_fetched_shards_own(old):
    facts = DatasetInfo.model_validate_json((old.folder / "dataset.json").read_bytes()).model_dump(mode="json")
    facts["format"] = 2
    for split in facts["splits"].values():
        for shard in split["shards"]:
            del shard["index_sha256"]
            os.truncate(old.folder / f"{shard['name']}.idx", 50)
    (old.folder / "dataset.json").write_text(json.dumps(facts))
    with serve(old.folder) as (url, _):
        assert labels(Prepared.open(url, retry=QUICK)) == [0, 1] * 6
