import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from data_toy import prepare_toy, toy_samples

from blear.data import store as store_module
from blear.data.index import build_index
from blear.data.store import Store
from blear.errors import DataError


@pytest.mark.parametrize("kind", ["stills", "clips", "floats"])
def test_a_store_holds_what_the_dataset_yielded(tmp_path, kind):
    prepared = prepare_toy(tmp_path, kind=kind, parts=3)
    truth = toy_samples(tmp_path, "test", kind=kind, parts=3)
    for _ in range(2):  # decoded, then from the cache
        store = Store.open(prepared, "test")
        assert len(store) == len(truth) == 9
        expected = np.stack([one.frames for one in truth]).transpose(0, 1, 4, 2, 3)
        assert store.frames.dtype == expected.dtype
        assert np.array_equal(store.frames, expected)
        assert isinstance(store.frames, np.memmap)
        if kind == "floats":
            assert np.array_equal(store.clean, np.stack([one.clean for one in truth]).transpose(0, 1, 4, 2, 3))
        else:
            assert store.clean is None
        assert store.targets["emotion"].dtype == np.int64
        assert store.targets["emotion"].tolist() == [one.targets["emotion"] for one in truth]
        assert store.targets["valence"].dtype == np.float32
        assert np.array_equal(store.targets["valence"], np.float32([one.targets["valence"] for one in truth]))
        for column in ("keys", "subjects", "videos", "times", "meta"):
            assert getattr(store, column) == [getattr(one, column.removesuffix("s")) for one in truth]
        assert store.broken == []


def test_take_copies_the_samples_asked_for(tmp_path):
    store = Store.open(prepare_toy(tmp_path, kind="floats"), "train")
    samples_B = np.array([4, 0, 4])
    frames, clean, targets = store.take(samples_B)
    assert frames.dtype == clean.dtype == torch.float32
    assert frames.shape == (3, 2, 1, 6, 5)
    assert clean.shape == (3, 2, 1, 4, 3)
    assert np.array_equal(frames.numpy(), store.frames[samples_B])
    assert np.array_equal(clean.numpy(), store.clean[samples_B])
    assert targets["emotion"].dtype == torch.int64
    assert targets["valence"].dtype == torch.float32
    assert np.array_equal(targets["valence"].numpy(), store.targets["valence"][samples_B])
    frames.zero_()  # a copy: the cache stays
    assert np.abs(store.frames[0]).max() > 0


def test_the_cache_is_decoded_once_and_follows_the_digests(tmp_path, monkeypatch):
    cache = tmp_path / "elsewhere"
    prepared = prepare_toy(tmp_path)
    Store.open(prepared, "train", cache)
    decoded = []
    monkeypatch.setattr(store_module, "decode", lambda *args: decoded.append(args) or pytest.fail("decoded again"))
    Store.open(prepared, "train", cache)
    assert not (prepared.folder / "cache").exists()
    monkeypatch.undo()
    other = prepare_toy(tmp_path, seed=1)
    assert not np.array_equal(Store.open(other, "train", cache).frames, Store.open(prepared, "train", cache).frames)
    assert len([entry for entry in cache.iterdir() if entry.is_dir()]) == 2


OPEN = """
import sys, time
from pathlib import Path
from blear.data.prepared import Prepared
from blear.data.store import Store
prepared, ready, go = (Path(name) for name in sys.argv[1:])
prepared = Prepared.open(prepared)
ready.touch()
while not go.exists():
    time.sleep(0.01)
store = Store.open(prepared, "train")
sys.stdout.write(f"{len(store)} {int(store.frames.sum())}")
"""


def test_processes_may_open_at_once(tmp_path):
    prepared = prepare_toy(tmp_path, kind="clips", samples=40)
    go, ready = tmp_path / "go", [tmp_path / f"ready{n}" for n in range(3)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(prepared.folder), str(mine), str(go)], stdout=subprocess.PIPE, text=True
        )
        for mine in ready
    ]
    while not all(file.exists() for file in ready):
        assert all(process.poll() is None for process in processes)
    go.touch()
    answers = {process.communicate(timeout=60)[0] for process in processes}
    total = sum(int(one.frames.sum()) for one in toy_samples(tmp_path, "train", kind="clips", samples=40))
    assert answers == {f"80 {total}"}
    assert [entry.name for entry in (prepared.folder / "cache").iterdir() if entry.is_dir()] == [
        f"train-{store_module._digest(prepared.split('train'))}"
    ]


def test_the_loser_of_a_race_uses_the_winners_entry(tmp_path, monkeypatch):
    """As on a shared file system whose locks do not reach the other node."""
    prepared = prepare_toy(tmp_path)
    write = store_module._write_entry

    def slower(prepared, split, folder, max_broken):
        write(prepared, split, folder, max_broken)
        winner = folder.parent / f"{split}-{store_module._digest(prepared.split(split))}"
        write(prepared, split, Path(winner.mkdir() or winner), max_broken)

    monkeypatch.setattr(store_module, "_write_entry", slower)
    assert len(Store.open(prepared, "train")) == 6
    assert len([entry for entry in (prepared.folder / "cache").iterdir() if entry.is_dir()]) == 1


def damage(prepared, *numbers, member="png"):
    """Zeroes the middle of a member of samples of the first training shard."""
    shard = prepared.shards("train")[0]
    index = build_index(shard)
    data = bytearray(shard.read_bytes())
    for number in numbers:
        offset, size = index.members(number)[member]
        data[offset + size // 4 : offset + size // 2] = bytes(size // 2 - size // 4)
    shard.write_bytes(data)


def test_broken_samples_past_the_budget_are_named_and_leave_no_cache(tmp_path):
    prepared = prepare_toy(tmp_path)
    damage(prepared, 1)
    with pytest.raises(DataError) as caught:
        Store.open(prepared, "train")
    assert caught.value.what == (
        "more than 0 broken samples: 1 x the png member does not decode (00000-000.tar part0/001)"
    )
    assert "split train" in caught.value.where
    assert "max_broken" in caught.value.do
    assert not [entry for entry in (prepared.folder / "cache").iterdir() if entry.is_dir()]


def test_broken_samples_within_the_budget_are_left_out_and_said_once(tmp_path, monkeypatch):
    prepared = prepare_toy(tmp_path)
    damage(prepared, 0)
    damage(prepared, 2, member="json")
    said = []
    monkeypatch.setattr(store_module, "say", said.append)
    for _ in range(2):
        store = Store.open(prepared, "train", max_broken=2)
    assert said == [
        "toy/random, split train: left out 1 x the png member does not decode; 1 x the json member is not JSON "
        "(00000-000.tar part0/000, 00000-000.tar part0/002)"
    ]
    truth = [one for one in toy_samples(tmp_path, "train") if one.key not in ("part0/000", "part0/002")]
    assert store.keys == [one.key for one in truth]
    assert store.frames.shape == (4, 1, 1, 6, 5)
    assert np.array_equal(store.frames, np.stack([one.frames for one in truth]).transpose(0, 1, 4, 2, 3))
    assert [cause for _, _, cause in store.broken] == ["the png member does not decode", "the json member is not JSON"]
    with pytest.raises(DataError, match="more than 1 broken samples"):  # the cache keeps no secret
        Store.open(prepared, "train", max_broken=1)


def test_a_sample_that_does_not_fit_the_dataset_is_broken(tmp_path):
    prepared = prepare_toy(tmp_path)
    shard = prepared.shards("train")[0]
    data = shard.read_bytes()
    shard.write_bytes(data.replace(b'"emotion": 1', b'"emotion": 7', 1))
    with pytest.raises(DataError, match="1 x target emotion is 7, expected a class index below 2"):
        Store.open(prepared, "train")


def test_a_cut_shard_is_no_matter_of_the_budget(tmp_path):
    prepared = prepare_toy(tmp_path)
    shard = prepared.shards("train")[1]
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(
        DataError, match=r"train/00001-000\.tar: the shard has 3000 bytes.* ends inside sample part1/00"
    ):
        Store.open(prepared, "train", max_broken=100)


def test_a_dataset_without_targets_and_facts(tmp_path):
    """Its samples are the simplest ones: key and frames."""
    source = """
import numpy as np
from blear.contracts import ClipSpec, Component, Params, Sample
from blear.hooks import hookimpl
PLUGIN_API = 1
class Plain:
    targets, splits, clip, terms = (), ("train",), ClipSpec(1, 1, 2, 2), ""
    def __init__(self, params, context): pass
    def parts(self, split): return ["all"]
    def samples(self, split, part):
        for n in range(3): yield Sample(f"k{n}", np.full((1, 2, 2, 1), n, np.uint8), {})
@hookimpl
def register_datasets(): return [Component("plain", "Plain", Params, Plain)]
"""
    from blear.data.prepare import prepare
    from blear.plugins import ComponentRef

    (tmp_path / "simple.py").write_text(source)
    ref = ComponentRef("dataset", "plain", {}, (str(tmp_path / "simple.py"),))
    store = Store.open(prepare(ref, tmp_path / "shards", version="1", workers=1), "train")
    frames, clean, targets = store.take(np.array([2, 1]))
    assert frames[:, 0, 0, 0, 0].tolist() == [2, 1]
    assert (clean, targets, store.times, store.meta) == (None, {}, [None] * 3, [{}] * 3)
    columns = json.loads(next((tmp_path / "shards").rglob("columns.json")).read_text())
    assert columns["keys"] == ["k0", "k1", "k2"]
