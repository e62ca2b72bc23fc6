"""A job that pools: frames of videos as samples, one video without a face, from training to the report's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blear.evaluate.predictions import class_priors, read_predictions
from blear.evaluate.summary import read_summary
from blear.job.reader import read_job
from blear.pipeline.run import evaluate_run, run_job
from blear.plugin.discovery import load_plugins

PLUGIN = '''
import numpy as np

from blear.contracts import ClipSpec

from blear.contracts import Component

from blear.contracts import Params

from blear.contracts import Sample

from blear.contracts import Target
from blear.hooks import hookimpl

PLUGIN_API = 1


class Frames:
    """Three frames of each of eight videos; in the last video of `dev` no face was found."""

    terms = "Random numbers."
    targets = (Target("emotion", "class", ("sad", "happy", "angry")),)
    splits = ("train", "dev")
    clip = ClipSpec(1, 1, 32, 32)

    def __init__(self, params, context):
        pass

    def parts(self, split):
        return ["all"]

    def samples(self, split, part):
        rng = np.random.default_rng(len(split))
        for video in range(8):
            for frame in range(3):
                frames = rng.integers(0, 256, (1, 32, 32, 1), dtype=np.uint8)
                found = int(not (split == "dev" and video == 7))
                yield Sample(
                    f"v{video}/{frame}", frames, {"emotion": video % 3}, video=f"v{video}", meta={"found": found}
                )


@hookimpl
def register_datasets():
    return [Component("frames", "Frames of videos", Params, Frames)]
'''
JOB = """name: pools
plugins: [pooled_frames.py]
data: {frames: {use: pooled_frames/frames}}
stages:
  only:
    data: frames
    backbone: {use: vlqr/cnn5x5, width: 0.1}
    head: {use: fer/emotion}
    optimizer: {lr: 0.01}
    batch_size: 8
    steps: 2
evaluate:
  sweep: {use: downscale, over: {factor: [1, 2]}}
  arms: {only: {stage: only}}
  resamples: 20
  pool: {by: video, score: sum_probabilities}
"""


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize("without_face", ["missed", "prior"])
def test_a_job_has_one_decision_for_each_video(tmp_path: Path, without_face: str) -> None:
    (tmp_path / "pooled_frames.py").write_text(PLUGIN)
    (tmp_path / "job.yaml").write_text(JOB)
    job, catalog = read_job(tmp_path / "job.yaml", overrides=[f"evaluate.without_face={without_face}"])
    root = run_job(job, catalog, runner="local", fresh=False, command="blear run", profile=None).parent
    found = read_predictions(root / "predictions.parquet")
    assert class_priors(found) == ({"only": [3 / 8, 3 / 8, 2 / 8]} if without_face == "prior" else {})
    table = found.to_pandas()
    assert len(table) == 2 * 24
    assert set(table[~table["found"]]["video"]) == {"v7"}
    summary = read_summary(root / "summary.json")
    assert (summary.cluster, summary.clusters) == ("video", 8)
    for level in (1.0, 2.0):
        here = table[(table["severity"] == level) & table["found"]]
        right = [
            int(np.stack(rows["probabilities"]).sum(axis=0).argmax() == rows["truth"].iloc[0])
            for _, rows in here.groupby("video")
        ]
        estimate = summary.estimate("only", "corruptions/downscale", level, "accuracy")
        assert estimate is not None
        assert (estimate.n, estimate.missed) == (7, 1)
        assert estimate.value == pytest.approx(sum(right) / 7)
        assert estimate.with_missed == pytest.approx(sum(right) / 8)  # v7 is of class 1, the prior answers 0
    title = "class prior for missed faces" if without_face == "prior" else "missed faces counted as wrong"
    assert title in (root / "report.html").read_text()
    assert "One decision for each video: sum probabilities of its rows." in evaluate_run(root)
    load_plugins.cache_clear()
