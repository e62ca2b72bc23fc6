"""Tests of distribution targets: labels are written, read back, checked, and reach a batch as float32 shares."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch

from blear.contracts import Sample, Target
from blear.data.decoded.store import Store
from blear.data.loader import sequential_batches
from blear.data.prepare.description import describe_dataset
from blear.data.prepare.run import prepare_dataset
from blear.data.prepared import Prepared
from blear.data.shard.checks import targets_problem
from blear.data.shard.sample_codec import decode_sample, encode_sample
from blear.data.shard.webdataset_check import compare_with_webdataset
from blear.errors import DataError
from blear.plugin.component_ref import ComponentRef
from blear.plugin.conformance.datasets import dataset_checks
from blear.plugin.discovery import load_plugins

VOTES = Target("votes", "distribution", ("sad", "glad", "calm"))

PLUGIN = """
import numpy as np
from blear.contracts import ClipSpec, Component, Params, Sample, Target
from blear.hooks import hookimpl

PLUGIN_API = 1
COUNTS = ((7, 2, 1), (1, 1, 1), (0, 0, 4), (3, 3, 0))


class Voted:
    terms = "Made of random numbers."
    targets = (
        Target("age", "value"),
        Target("votes", "distribution", ("sad", "glad", "calm")),
        Target("emotion", "class", ("sad", "glad", "calm")),
    )
    splits = ("train",)
    clip = ClipSpec(3, 1, 4, 5, shortest=1)

    def __init__(self, params, context):
        pass

    def parts(self, split):
        if split != "train":
            from blear.errors import DataError
            raise DataError(f"no split {split}")
        return ["all"]

    def samples(self, split, part):
        if part not in self.parts(split):
            from blear.errors import DataError
            raise DataError(f"no part {part}")
        for number, counts in enumerate(COUNTS):
            frames = np.full((1 + number % 3, 4, 5, 1), number, dtype=np.uint8)
            shares = np.array(counts) / sum(counts)
            yield Sample(f"k{number}", frames, {"age": 20.5 + number, "votes": shares, "emotion": number % 3})


@hookimpl
def register_datasets():
    return [Component("toy", "Votes", Params, Voted)]
"""


@pytest.fixture
def plugin(tmp_path):
    file = tmp_path / "voted.py"
    file.write_text(PLUGIN)
    return str(file)


def test_shares_are_stored_as_float32_and_reach_a_batch_between_other_targets(tmp_path, plugin):
    ref = ComponentRef("dataset", "voted/toy", {}, (plugin,))
    prepared = Prepared.open(prepare_dataset(ref, tmp_path / "shards", version="1", seed=0).folder)
    assert prepared.targets["votes"] == VOTES
    assert prepared.split("train").class_counts == {"emotion": (2, 1, 1)}
    (shard,) = prepared.shards("train")
    with tarfile.open(shard) as file:
        stored = json.load(io.BytesIO(file.extractfile("k0.json").read()))["targets"]
    assert stored["votes"] == [float(np.float32(share)) for share in (0.7, 0.2, 0.1)]
    assert compare_with_webdataset(shard) == 4  # index and members agree
    counts = np.array(((7, 2, 1), (1, 1, 1), (0, 0, 4), (3, 3, 0)))
    for number in range(2):  # the second time from the decoded cache
        store = Store.open(prepared, "train", tmp_path / "cache")
        (batch,) = sequential_batches(store, 8)
        assert batch.targets["votes"].dtype == torch.float32, number
        np.testing.assert_array_equal(
            batch.targets["votes"], (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
        )
        assert batch.targets["age"].tolist() == [20.5, 21.5, 22.5, 23.5]
        assert batch.targets["emotion"].tolist() == [0, 1, 2, 0]
        assert store.lengths(np.arange(4)).tolist() == [1, 2, 3, 1]
        store.close()


def test_the_dataset_is_described_and_conforms(tmp_path, plugin):
    registered = load_plugins((plugin,)).get("dataset", "voted/toy")
    assert "votes, a distribution over sad, glad, calm" in "\n".join(describe_dataset(registered, {}))
    for check in dataset_checks(registered):
        check()


@pytest.mark.parametrize(
    "label", [[0.5, 0.5], [0.5, 0.6, 0.1], [1.5, -0.5, 0.0], [float("nan"), 0.5, 0.5], 1, "sad", [[1.0, 0.0, 0.0]]]
)
def test_a_label_that_is_no_distribution_is_refused(label):
    problem = targets_problem({"votes": label}, [VOTES])
    assert problem.endswith("expected 3 shares from 0 that sum to 1"), problem


def test_a_stored_distribution_is_checked(tmp_path, plugin):
    ref = ComponentRef("dataset", "voted/toy", {}, (plugin,))
    folder = prepare_dataset(ref, tmp_path / "shards", version="1", seed=0).folder
    info = json.loads((folder / "dataset.json").read_text())
    for classes, message in (
        (["sad", "glad"], "'votes of 3 classes'], the dataset declares ['age', 'emotion', 'votes of 2 classes']"),
        ([], "has no classes"),
    ):
        info["targets"][1]["classes"] = classes
        (folder / "dataset.json").write_text(json.dumps(info))
        with pytest.raises(DataError) as caught:
            Store.open(Prepared.open(folder), "train", tmp_path / "cache").take(np.arange(4))
        assert message in str(caught.value)


def test_a_sample_of_a_shard_has_its_shares_again():
    sample = Sample("a", np.zeros((1, 2, 2, 1), np.uint8), {"votes": (0.25, 0.5, 0.25), "age": 3.5})
    again = decode_sample("a", encode_sample(sample), "x.tar")
    assert again.targets == sample.targets
