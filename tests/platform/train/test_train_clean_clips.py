"""A sample's own clean clip that is smaller than its frames, under augmentation."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from blear.contracts import BuildContext, ClipSpec
from blear.data.raw_batch import RawBatch
from blear.degradation.chain import Chain, build_chain
from blear.errors import JobError
from blear.job.reader import read_job
from blear.pipeline.data_facts import data_facts
from blear.pipeline.dry_run import dry_run
from blear.pipeline.prepare import prepare_data
from blear.pipeline.run import run_job
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import DegradationUse
from blear.storage.run_folder import RunFolder
from blear.train.plan import StagePlan
from blear.train.preprocessing import Preprocessing
from blear.train.setup import set_up
from blear.train.worker import LocalWorker

ON_CPU = LocalWorker(torch.device("cpu"))


def half_white(side: int) -> torch.Tensor:
    frames = torch.zeros(64, 1, 1, side, side)
    frames[..., : side // 2] = 1.0
    return frames


@pytest.mark.parametrize("side", [8, 6])
def test_a_flip_acts_on_frames_and_clean_clip_alike(side: int) -> None:
    flip, _ = build_chain(load_plugins(()), [DegradationUse(use="random_flip")], BuildContext(0, ClipSpec(1, 1, 8, 8)))
    raw = RawBatch(np.zeros(64, np.int64), np.arange(64), half_white(8), half_white(side), {})
    batch = Preprocessing(flip, Chain([], 0), ON_CPU.device)(raw, 0.0)
    frames, clean = batch.frames_BTCHW[:, 0, 0, 0, 0] == 0, batch.clean_BTCHW[:, 0, 0, 0, 0] == 0
    assert 16 < int(frames.sum()) < 48
    assert torch.equal(frames, clean)


@pytest.fixture
def t91_job(repository: Path, storage: Path, tmp_path: Path):
    """t91_job("stages...=...") -> the super-resolution stage on a folder with one picture, and the plugins."""
    (tmp_path / "t91").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "t91" / "a.png"), cv2.GaussianBlur(picture, (0, 0), 2))
    given = (
        f"data.photos.source={tmp_path / 't91'}",
        "stages.sr.steps=1",
        "evaluate=null",
        "data.faces.stand_in.per_subject=8",
    )

    def make(*overrides: str):
        return read_job(repository / "jobs" / "vlqr.yaml", profile="tiny", overrides=(*given, *overrides))

    return make


def test_an_augmentation_that_cannot_act_on_both_is_refused_before_training(t91_job, storage: Path) -> None:
    job, catalog = t91_job("stages.sr.augment=[{use: random_flip}, {use: random_shift, pixels: 2}]")
    match = r"stages\.sr\.augment\.1: the clean clips of vlqr/t91 have 16x16 pixels, the frames 32x32"
    with pytest.raises(JobError, match=match):  # as `blear check` does
        dry_run(job, catalog, data_facts(job, catalog)[0])
    with pytest.raises(JobError, match=match):
        run_job(job, catalog, runner="local", fresh=False, command="", profile=None)
    assert not storage.exists()  # neither prepared data nor a run folder


def test_a_flip_of_smaller_clean_clips_is_accepted(t91_job, tmp_path: Path) -> None:
    job, catalog = t91_job("stages.sr.augment=[{use: random_flip}]")
    plan = StagePlan(job, "sr", RunFolder(tmp_path / "run"), prepare_data(job, catalog, workers=1))
    assert set_up(plan, ON_CPU).store.layout.stored.clean_shape == (1, 16, 16, 1)
