"""Validation sees an even spread over its split, the same for every number of workers."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from blear.data.decoded.store import Store
from blear.data.loader import spread_batches
from blear.data.prepared import Prepared
from blear.job.reader import read_job
from blear.metrics import ccc
from blear.pipeline.prepare import prepare_data
from blear.storage.run_folder import RunFolder
from blear.train.plan import StagePlan
from blear.train.setup import set_up
from blear.train.worker import LocalWorker

SMALL = "stages.clean.validate={every: 2, batches: 2, metric: ccc}"  # 32 of 48 samples, of three subjects


class ThreadWorker(LocalWorker):
    """One of several workers, each in a thread of this process."""

    def __init__(self, rank: int, shared: list[Any], barrier: threading.Barrier) -> None:
        super().__init__(torch.device("cpu"))
        self.rank, self.world_size = rank, len(shared)
        self.shared, self.barrier = shared, barrier

    def all_gather(self, value: Any) -> list[Any]:
        self.shared[self.rank] = value
        self.barrier.wait(60)
        return list(self.shared)

    def all_reduce_sum(self, value: float) -> float:
        gathered = sum(self.all_gather(value))
        self.barrier.wait(60)
        return gathered


def validated(run, world: int) -> list[dict[str, float]]:
    """The values that each of `world` workers gets."""
    shared, barrier = [None] * world, threading.Barrier(world)
    found: list[dict[str, float]] = [{} for _ in range(world)]

    def work(rank: int) -> None:
        validator = replace(run.validator, worker=ThreadWorker(rank, shared, barrier))
        found[rank] = validator(copy.deepcopy(run.model))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return found


def test_the_values_do_not_depend_on_the_number_of_workers(plan) -> None:
    run = set_up(plan("watched", SMALL), LocalWorker(torch.device("cpu")))
    (alone,) = validated(run, 1)
    assert set(alone) == {"validation_loss", "validation_ccc"}
    for world in (2, 3):  # of three workers one has no batch
        assert validated(run, world) == [alone] * world


def test_every_subject_is_validated(plan) -> None:
    data = Prepared.open(plan("spread").prepared["faces"])
    store = Store.open(data, "dev")
    (batch,) = spread_batches(store, 16, 1)
    subjects = store.metadata(batch.samples_B).subjects
    counts = [subjects.count(name) for name in sorted(set(subjects))]
    assert len(counts) == len(set(store.metadata(np.arange(len(store))).subjects)) == 3
    assert max(counts) - min(counts) <= 1


OTHER = (
    "data.other={use: faces/procedural, size: 56, color: luma, seed: 9, per_subject: 2, subjects: {train: 1, dev: 2}}"
)
ON_OTHER = "stages.clean.validate={every: 2, data: other, metric: ccc}"


def test_a_stage_is_validated_on_other_data(plan) -> None:
    """The clips of the other data, cropped to the size of training as in a test, and degraded as in training."""
    crop, down = (
        "stages.clean.augment=[{use: random_crop, size: 48}]",
        "stages.clean.degrade=[{use: downscale, factor: 4}]",
    )
    with_other = plan("other", OTHER, ON_OTHER, crop, down)
    run = set_up(with_other, LocalWorker(torch.device("cpu")))
    (values,) = validated(run, 1)
    data = Prepared.open(with_other.prepared["other"])
    assert data.clip.height == 56
    assert run.store.prepared.clip.height == 48
    (raw,) = spread_batches(Store.open(data, "dev"), 100, 1)
    clips = torch.from_numpy(np.asarray(raw.frames_BTCHW)[..., 4:52, 4:52]).float() / 255
    small = interpolate(clips[:, 0], size=12, mode="bicubic", antialias=True)
    frames = interpolate(small, size=48, mode="bicubic", antialias=True)[:, None]
    with torch.no_grad():
        outputs = run.model.eval()(frames)
    predicted, truth = next(iter(run.model.head.decode(outputs).values())).values_BT[:, 0], raw.targets["valence"]
    assert values["validation_ccc"] == pytest.approx(ccc(np.asarray(truth), predicted.numpy()), abs=1e-4)


CLIPS = """name: clips
data: {faces: {use: dsn/face_list, source: FOLDER, size: 32, train: train.txt, dev: train.txt, empty: black}}
stages:
  only:
    data: faces
    backbone: {use: vlqr/cnn5x5, width: 0.1}
    head: {use: fer/emotion}
    optimizer: {lr: 0.01}
    batch_size: 2
    steps: 2
    validate: {every: 1, metric: accuracy}
"""


@pytest.mark.usefixtures("storage")
def test_clips_without_a_face_are_not_validated(tmp_path) -> None:
    """Their black frames would move the loss, and be right where the class of black frames is the clip's."""
    rng = np.random.default_rng(0)
    for number in range(6):
        (tmp_path / f"clip{number}").mkdir()
        if number not in (1, 4):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / f"clip{number}" / "0.png")
    (tmp_path / "train.txt").write_text("".join(f"clip{number} {number}\n" for number in (0, 2, 3, 5)))
    (tmp_path / "dev.txt").write_text("".join(f"clip{number} {number}\n" for number in range(6)))
    (tmp_path / "job.yaml").write_text(CLIPS.replace("FOLDER", str(tmp_path)))

    def values(*overrides: str) -> list[dict[str, float]]:
        job, catalog = read_job(tmp_path / "job.yaml", overrides=overrides)
        run = set_up(
            StagePlan(job, "only", RunFolder(tmp_path / "run"), prepare_data(job, catalog, workers=1)),
            LocalWorker(torch.device("cpu")),
        )
        return validated(run, 1) + validated(run, 2)

    assert values("data.faces.dev=dev.txt") == values()


@pytest.mark.parametrize(("batches", "count"), [(1, 5), (3, 15), (100, 48)])
def test_batches_are_an_even_spread_of_single_samples(plan, batches: int, count: int) -> None:
    store = Store.open(Prepared.open(plan("spread").prepared["faces"]), "dev")
    alone = [raw.samples_B.tolist() for raw in spread_batches(store, 5, batches)]
    samples = np.concatenate(alone)
    assert len(samples) == len(set(samples.tolist())) == count
    assert np.diff([-1, *samples, 48]).max() <= -(-48 // count) + 1
    for world in (2, 4):
        shares = [[raw.samples_B.tolist() for raw in spread_batches(store, 5, batches, n, world)] for n in range(world)]
        assert sorted(batch for share in shares for batch in share) == alone
