"""Whole shards that are missing, cut off or damaged: their samples are counted like any broken ones."""

import os
import shutil

import numpy as np
import pytest
from data_server import QUICK, Faults, serve
from data_toy import prepare_toy, toy_samples

from blear.data.decoded.store import Store
from blear.data.loader import batches
from blear.data.prepared import Prepared
from blear.data.sampling.sampler import Sampler
from blear.errors import DataError

N = 12
PARTS = 3
KEYS = [[f"part{part}/{n:03d}" for n in range(4)] for part in range(PARTS)]


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Three shards of four samples in each split."""
    monkeypatch.delenv("BLEAR_CACHE", raising=False)
    return prepare_toy(tmp_path, samples=4, parts=PARTS)


@pytest.fixture
def truth(tmp_path, toy):
    samples = toy_samples(tmp_path, "train", samples=4, parts=PARTS)
    return np.stack([sample.frames.transpose(0, 3, 1, 2) for sample in samples])


def missing(shard):
    shard.unlink()


def cut(shard):
    os.truncate(shard, 3000)


def cut_without_index(shard):
    cut(shard)
    shard.with_name(f"{shard.name}.idx").unlink()


def no_tar(shard):
    shard.write_bytes(b"\1" * shard.stat().st_size)
    shard.with_name(f"{shard.name}.idx").unlink()


def other_count(shard):
    shutil.copy(shard.parent.parent / "short.tar", shard)
    shard.with_name(f"{shard.name}.idx").unlink()


DAMAGES = {
    missing: "the shard is missing",
    cut: "the shard has 3000 bytes",
    cut_without_index: "not a whole plain tar",
    no_tar: "not a whole plain tar",
    other_count: "the shard has 2 samples, dataset.json says 4",
}


@pytest.mark.parametrize("cache_gb", [None, 0])
@pytest.mark.parametrize("damage", DAMAGES)
def test_the_samples_of_a_bad_shard_are_counted(toy, tmp_path, truth, damage, cache_gb):
    (tmp_path / "other").mkdir()
    shutil.copy(prepare_toy(tmp_path / "other", samples=2).shards("train")[0], toy.folder / "short.tar")
    shard = toy.shards("train")[1]
    damage(shard)
    with pytest.raises(DataError, match=DAMAGES[damage]) as caught:
        Store.open(toy, "train", cache_gb=cache_gb).take(np.arange(N))
    assert "train/00001-000.tar" in caught.value.where
    with pytest.raises(DataError, match=f"{DAMAGES[damage]}.*; more than 3 broken samples: 4 x "):
        Store.open(toy, "train", cache_gb=cache_gb, max_broken=3).take(np.arange(N))
    store = Store.open(toy, "train", cache_gb=cache_gb, max_broken=4)
    for _ in range(2):
        taken = store.take(np.arange(N))
        assert taken.good_B.tolist() == [True] * 4 + [False] * 4 + [True] * 4
        assert np.array_equal(taken.frames.numpy(), truth[taken.good_B])
    assert len(store.broken) == 4
    named = [key for _, key, _ in store.broken]
    assert named == (KEYS[1] if damage in (missing, cut) else [f"number {n}" for n in range(4)])
    assert {place for place, _, _ in store.broken} == {str(shard)}
    assert all(DAMAGES[damage] in cause for _, _, cause in store.broken)


def test_a_shard_that_vanishes_while_training(toy, truth):
    """Batches go on without its samples, once the budget allows them; what is decoded already stays."""
    sampler = Sampler(np.full(PARTS, 4), 6, seed=0)
    seen = []
    store = Store.open(toy, "train", max_broken=4, cache_gb=0)
    for step, batch in enumerate(batches(store, sampler, 0, 8, prefetch_bytes=1)):
        if step == 1:
            toy.shards("train")[2].unlink()
        if step in (1, 2):  # after it, since the loader opens files at any time
            store._open.close_files()  # as if more shards were in use than may be open
        seen.append(batch.samples_B)
        assert np.array_equal(batch.frames_BTCHW.numpy(), truth[batch.samples_B])
    assert any((samples >= 8).any() for samples in seen[:1])
    assert not any((samples >= 8).any() for samples in seen[4:])
    for epoch in (2, 3):
        assert sorted(np.concatenate(seen[2 * epoch : 2 * epoch + 2]).tolist()) == list(range(8))
    assert [key for _, key, _ in store.broken] == KEYS[2]


def test_decoded_shards_survive_the_loss_of_the_shards(toy, truth):
    store = Store.open(toy, "train")
    store.take(np.arange(N))
    for shard in toy.shards("train"):
        shard.unlink()
    again = Store.open(Prepared.open(toy.folder), "train")
    assert np.array_equal(again.take(np.arange(N)).frames.numpy(), truth)
    assert again.keys(np.arange(N)) == [key for keys in KEYS for key in keys]
    assert again.broken == []


def test_a_mended_shard_is_read_again(toy, truth):
    shard = toy.shards("train")[1]
    whole, state = shard.read_bytes(), shard.stat()
    cut(shard)
    assert Store.open(toy, "train", max_broken=4).take(np.arange(N)).good_B.sum() == 8
    shard.write_bytes(whole)
    os.utime(shard, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert np.array_equal(Store.open(toy, "train").take(np.arange(N)).frames.numpy(), truth)


def test_a_shard_that_the_server_does_not_give_is_counted_too(toy, tmp_path, truth, monkeypatch):
    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "cache"))
    with serve(toy.folder, Faults(suffix="00001-000.tar", times=99, wrong=True)) as (url, _):
        prepared = Prepared.open(url, retry=QUICK)
        with pytest.raises(DataError, match="wrong content: SHA-256") as caught:
            Store.open(prepared, "train").take(np.arange(N))
        assert caught.value.where == f"{url}/train/00001-000.tar"
        store = Store.open(prepared, "train", max_broken=4)
        taken = store.take(np.arange(N))
    assert np.array_equal(taken.frames.numpy(), truth[taken.good_B])
    assert taken.good_B.tolist() == [True] * 4 + [False] * 4 + [True] * 4
    assert {cause.split(":")[0] for _, _, cause in store.broken} == {"not read in 4 tries; the last"}


@pytest.mark.parametrize("cache_gb", [None, 0])
@pytest.mark.parametrize("kind", ["stills", "clips", "floats"])
def test_a_store_over_a_url_is_that_of_the_folder(tmp_path, monkeypatch, kind, cache_gb):
    """Bit for bit, in any order, from the cache and without it, though each shard fails once."""
    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "cache"))
    toy = prepare_toy(tmp_path, samples=5, parts=2, kind=kind)
    with serve(toy.folder, Faults(times=1, cut_at=2000)) as (url, _):
        far = Store.open(Prepared.open(url, retry=QUICK), "train", tmp_path / "far", cache_gb=cache_gb)
        near = Store.open(toy, "train", tmp_path / "near")
        every = np.random.default_rng(0).permutation(len(near))
        found, expected = far.take(every), near.take(every)
        assert far.keys(every) == near.keys(every)
        assert far.metadata(every) == near.metadata(every)
    assert np.array_equal(found.frames.numpy(), expected.frames.numpy())
    assert (found.clean is None) == (expected.clean is None)
    if expected.clean is not None:
        assert np.array_equal(found.clean.numpy(), expected.clean.numpy())
    assert {name: values.tolist() for name, values in found.targets.items()} == {
        name: values.tolist() for name, values in expected.targets.items()
    }


def test_the_command_stops_over_the_budget_and_goes_on_within_it(blear, tmp_path, storage):
    """A cut shard of faces: one error that names it, then a run that says what it left out."""
    job = tmp_path / "job.yaml"
    job.write_text("""name: bad
data:
  faces: {use: procedural, size: 48, color: luma, targets: [valence], subjects: {train: 6, dev: 1}, per_subject: 4}
stages:
  clean:
    data: faces
    backbone: {use: cnn5x5, width: 0.1}
    head: {use: valence}
    optimizer: {lr: 0.01}
    steps: 4
    batch_size: 8
""")
    done = blear("prepare", str(job), "--workers", "1")
    assert done.returncode == 0, done.stderr
    (shard,) = (storage / "shards").glob("*/train/*.tar")
    data = shard.read_bytes()
    at = data.index(b"IDAT")
    shard.write_bytes(data[: at + 4] + bytes(40) + data[at + 44 :])  # size and headers stay: one picture is broken
    done = blear("run", str(job))
    assert (done.returncode, done.stdout) == (2, "")
    assert "more than 0 broken samples: 1 x the png member does not decode" in done.stderr
    assert shard.name in done.stderr
    assert "Traceback" not in done.stderr
    done = blear("run", str(job), "--set", "max_broken=1", "--set", "name=within")
    assert done.returncode == 0, done.stderr
    assert "left out 1 x the png member does not decode" in done.stderr
