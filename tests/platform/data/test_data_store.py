import os

import numpy as np
import pytest
import torch
from data_toy import prepare_toy, restate, toy_samples

from blear.data.decoded.store import Store
from blear.data.prepare.run import prepare_dataset
from blear.data.shard.tar_index import build_index
from blear.errors import DataError
from blear.plugin.component_ref import ComponentRef


def everything(store):
    return store.take(np.arange(len(store)))


def stacked(samples, name="frames"):
    return np.stack([getattr(one, name) for one in samples]).transpose(0, 1, 4, 2, 3)


def entries(prepared):
    return sorted(file.name for file in (prepared.folder / "cache").glob("*.d*"))


@pytest.mark.parametrize("cache_gb", [None, 0])
@pytest.mark.parametrize("kind", ["stills", "clips", "floats"])
def test_a_store_returns_the_samples_of_the_dataset(tmp_path, kind, cache_gb):
    prepared = prepare_toy(tmp_path, kind=kind, parts=3)
    truth = toy_samples(tmp_path, "test", kind=kind, parts=3)
    for _ in range(2):  # decoded, then from the cache if there is one
        store = Store.open(prepared, "test", cache_gb=cache_gb)
        assert len(store) == len(truth) == 9
        assert store.counts.tolist() == [3, 3, 3]
        taken = everything(store)
        assert taken.good_B.tolist() == [True] * 9
        assert taken.frames.dtype == (torch.float32 if kind == "floats" else torch.uint8)
        assert np.array_equal(taken.frames.numpy(), stacked(truth))
        if kind == "floats":
            assert taken.clean.dtype == torch.float32
            assert np.array_equal(taken.clean.numpy(), stacked(truth, "clean"))
        else:
            assert taken.clean is None
        assert taken.targets["emotion"].dtype == torch.int64
        assert taken.targets["emotion"].tolist() == [one.targets["emotion"] for one in truth]
        assert taken.targets["valence"].dtype == torch.float32
        assert np.array_equal(taken.targets["valence"], np.float32([one.targets["valence"] for one in truth]))
        columns = store.metadata(np.arange(9))
        for column in ("keys", "subjects", "videos", "times", "meta"):
            assert getattr(columns, column) == [getattr(one, column.removesuffix("s")) for one in truth]
        assert store.broken == []
    assert (prepared.folder / "cache").exists() == (cache_gb is None)
    assert cache_gb == 0 or len(entries(prepared)) == 3


@pytest.mark.parametrize("cache_gb", [None, 0])
def test_samples_are_returned_in_the_requested_order_with_repetitions(tmp_path, cache_gb):
    prepared = prepare_toy(tmp_path, kind="floats")
    truth = toy_samples(tmp_path, "train", kind="floats")
    store = Store.open(prepared, "train", cache_gb=cache_gb)
    wanted = [4, 0, 4, 5, 1, 0]
    taken = store.take(np.array(wanted))
    assert np.array_equal(taken.frames.numpy(), stacked([truth[n] for n in wanted]))
    assert np.array_equal(taken.clean.numpy(), stacked([truth[n] for n in wanted], "clean"))
    assert taken.targets["emotion"].tolist() == [truth[n].targets["emotion"] for n in wanted]
    assert store.keys(np.array(wanted)) == [truth[n].key for n in wanted]
    assert store.metadata(np.array(wanted)).meta == [truth[n].meta for n in wanted]
    taken.frames.zero_()  # a copy: the cache stays
    assert np.array_equal(store.take(np.array([4])).frames.numpy(), stacked([truth[4]]))
    nothing = store.take(np.array([], dtype=np.int64))
    assert (nothing.frames.shape, nothing.good_B.shape) == ((0, 2, 1, 6, 5), (0,))
    for outside in (-1, 6):
        with pytest.raises(IndexError, match="of 6"):
            store.take(np.array([outside]))


def test_opening_reads_no_shard_and_decoded_shards_replace_encoded_ones(tmp_path):
    prepared = prepare_toy(tmp_path)
    shards = prepared.shards("train")
    aside = [shard.rename(shard.with_suffix(".aside")) for shard in shards]
    store = Store.open(prepared, "train")
    assert (len(store), entries(prepared)) == (6, [])
    with pytest.raises(DataError, match=r"00000-000\.tar: the shard is missing"):
        store.take(np.array([0]))
    aside[0].rename(shards[0])
    assert store.take(np.array([1])).frames.shape == (1, 1, 1, 6, 5)
    assert len(entries(prepared)) == 1  # only the shard that was asked for
    shards[0].unlink()
    again = Store.open(prepared, "train").take(np.array([2, 0]))
    truth = toy_samples(tmp_path, "train")
    assert np.array_equal(again.frames.numpy(), stacked([truth[2], truth[0]]))
    assert again.targets["emotion"].tolist() == [truth[2].targets["emotion"], truth[0].targets["emotion"]]
    with pytest.raises(DataError, match=r"00001-000\.tar: the shard is missing"):
        store.take(np.array([3]))


def damage(prepared, *numbers, member="png"):
    """Zeroes the middle of a member of samples of the first training shard."""
    shard = prepared.shards("train")[0]
    index = build_index(shard)
    data = bytearray(shard.read_bytes())
    for number in numbers:
        offset, size = index.members(number)[member]
        data[offset + size // 4 : offset + size // 2] = bytes(size // 2 - size // 4)
    shard.write_bytes(data)


@pytest.mark.parametrize("cache_gb", [None, 0])
def test_broken_samples_over_the_limit_are_named_and_not_cached(tmp_path, cache_gb):
    prepared = prepare_toy(tmp_path)
    damage(prepared, 1)
    store = Store.open(prepared, "train", cache_gb=cache_gb)
    with pytest.raises(DataError) as caught:
        everything(store)
    assert caught.value.what == (
        "more than 0 broken samples: 1 x the png member does not decode (00000-000.tar part0/001)"
    )
    assert "split train" in caught.value.where
    assert "max_broken" in caught.value.do
    assert not list((prepared.folder / "cache").glob("*0*.d*"))


@pytest.mark.parametrize(("cache_gb", "second"), [(None, 2), (0, 1)])  # what is said differs: it is said once a process
def test_broken_samples_within_the_limit_are_left_out_and_logged_once(tmp_path, capfd, cache_gb, second):
    prepared = prepare_toy(tmp_path)
    damage(prepared, 0)
    damage(prepared, second, member="json")
    prepared = restate(prepared)
    capfd.readouterr()
    for _ in range(2):
        store = Store.open(prepared, "train", max_broken=2, cache_gb=cache_gb)
        assert len(store) == 6
        taken = everything(store)
        everything(store)
    assert [line for line in capfd.readouterr().err.splitlines() if "left out" in line] == [
        "toy/random, split train: left out 1 x the png member does not decode; 1 x the json member is not JSON "
        f"(00000-000.tar part0/000, 00000-000.tar part0/00{second})"
    ]
    assert taken.good_B.tolist() == [n not in (0, second) for n in range(6)]
    truth = [one for n, one in enumerate(toy_samples(tmp_path, "train")) if n not in (0, second)]
    assert np.array_equal(taken.frames.numpy(), stacked(truth))
    assert taken.targets["emotion"].tolist() == [one.targets["emotion"] for one in truth]
    assert store.broken == [
        (str(prepared.shards("train")[0]), "part0/000", "the png member does not decode"),
        (str(prepared.shards("train")[0]), f"part0/00{second}", "the json member is not JSON"),
    ]
    with pytest.raises(DataError, match="more than 1 broken samples"):  # the cache keeps no secret
        everything(Store.open(prepared, "train", max_broken=1, cache_gb=cache_gb))


def test_a_repaired_shard_is_decoded_again(tmp_path):
    prepared = prepare_toy(tmp_path)
    shard = prepared.shards("train")[0]
    good, time = shard.read_bytes(), shard.stat().st_mtime_ns
    damage(prepared, 1)
    assert everything(Store.open(prepared, "train", max_broken=1)).good_B.sum() == 5
    shard.write_bytes(good)
    os.utime(shard, ns=(time, time))
    store = Store.open(prepared, "train")
    assert np.array_equal(everything(store).frames.numpy(), stacked(toy_samples(tmp_path, "train")))
    assert store.broken == []


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        (b'"emotion": 1', b'"emotion": 7', "target emotion is 7, expected a class index below 2"),
        (b'"emotion": 1', b'"emotion":.5', "the json member is not JSON"),
        (b'"emotion": 1', b'"emotion":[]', "target emotion is a list, expected a number"),
        (b'"emotion": 1', b'"emotiom": 1', "targets are ['emotiom', 'valence'], the dataset declares ['emotion', 'va"),
        (b'"valence": ', b'"valence":3', "outside [-1.0, 1.0]"),
        (b'"frames": 1', b'"frames": 2', "frames have shape (2, 3, 5, 1), the dataset's clip says (1, 6, 5, 1)"),
        (b'"frames": 1', b'"frames":-1', "the rows of the png member do not divide into its frames"),
        (b'"subject": "s1"', b'"subject": null', "subject is None in the json member, expected text"),
    ],
)
def test_a_sample_that_does_not_match_the_dataset_is_broken(tmp_path, old, new, cause):
    prepared = prepare_toy(tmp_path, seed=2)
    shard = prepared.shards("train")[0]
    data = shard.read_bytes()
    assert data.count(old) >= 1
    shard.write_bytes(data.replace(old, new, 1))
    prepared = restate(prepared)
    for cache_gb in (None, 0):
        store = Store.open(prepared, "train", max_broken=1, cache_gb=cache_gb)
        assert everything(store).good_B.sum() == 5
        assert cause in store.broken[0][2]


def test_each_sample_of_a_shard_with_another_layout_is_broken(tmp_path):
    """As if dataset.json came from another dataset."""
    prepared = prepare_toy(tmp_path, kind="floats")
    other = prepare_toy(tmp_path)
    for old, new in zip(prepared.shards("train"), other.shards("train"), strict=True):
        new.write_bytes(old.read_bytes())
    other = restate(other)
    store = Store.open(other, "train", max_broken=6)
    assert everything(store).frames.shape == (0, 1, 1, 6, 5)
    assert {cause for _, _, cause in store.broken} == {"the shard has a clean clip, but dataset.json declares none"}


def test_the_error_of_a_truncated_shard_names_its_end(tmp_path):
    prepared = prepare_toy(tmp_path)
    shard = prepared.shards("train")[1]
    shard.write_bytes(shard.read_bytes()[:3000])
    for cache_gb in (None, 0):
        store = Store.open(prepared, "train", cache_gb=cache_gb)
        with pytest.raises(DataError, match=r"00001-000\.tar: the shard has 3000 bytes.* ends inside sample part1/00"):
            everything(store)


def test_truncating_a_shard_while_it_is_read_is_an_error(tmp_path):
    prepared = prepare_toy(tmp_path)
    store = Store.open(prepared, "train", cache_gb=0)
    everything(store)
    shard = prepared.shards("train")[1]
    offset, _ = build_index(shard).members(2)["png"]
    os.truncate(shard, offset + 10)
    assert len(store.take(np.array([0, 3])).frames) == 2
    what = r"1 x the shard ends inside the png member \(00001-000\.tar part1/002\)"
    with pytest.raises(DataError, match=what):
        everything(store)


def test_a_shard_with_another_number_of_samples_is_an_error(tmp_path):
    prepared, more = prepare_toy(tmp_path), prepare_toy(tmp_path, samples=4)
    shard = prepared.shards("train")[0]
    shard.write_bytes(more.shards("train")[0].read_bytes())
    prepared = restate(prepared)
    with pytest.raises(DataError, match=r"the shard has 4 samples, dataset\.json says 3"):
        everything(Store.open(prepared, "train"))


def test_class_counts_are_summed_over_the_parts(tmp_path):
    prepared = prepare_toy(tmp_path, parts=3, samples=5)
    labels = [one.targets["emotion"] for one in toy_samples(tmp_path, "train", parts=3, samples=5)]
    assert prepared.split("train").class_counts == {"emotion": (labels.count(0), labels.count(1))}
    assert labels.count(0) == 9


def test_a_dataset_without_targets_and_metadata(tmp_path):
    """Its samples are the simplest ones: key and frames."""
    source = """
import numpy as np
from blear.contracts import ClipSpec
from blear.contracts import Component
from blear.contracts import Params
from blear.contracts import Sample
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
    (tmp_path / "simple.py").write_text(source)
    ref = ComponentRef("dataset", "plain", {}, (str(tmp_path / "simple.py"),))
    store = Store.open(prepare_dataset(ref, tmp_path / "shards", version="1", workers=1), "train")
    taken, columns = store.take(np.array([2, 1])), store.metadata(np.array([0, 2]))
    assert taken.frames[:, 0, 0, 0, 0].tolist() == [2, 1]
    assert (taken.clean, taken.targets) == (None, {})
    assert (columns.keys, columns.times, columns.meta) == (["k0", "k2"], [None] * 2, [{}] * 2)
