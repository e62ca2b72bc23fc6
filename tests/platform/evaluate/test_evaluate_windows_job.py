"""A job on clips that differ in length: random frames in training, windows and a centre crop in evaluation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from blear.data.prepared import Prepared
from blear.errors import JobError
from blear.evaluate.predictions import read_predictions
from blear.evaluate.summary import read_summary
from blear.job.reader import read_job
from blear.pipeline.run import run_job
from blear.plugin.discovery import load_plugins

PLUGIN = """
import numpy as np
import torch
from torch import nn

from blear.contracts import ClipSpec

from blear.contracts import Component

from blear.contracts import Params

from blear.contracts import Sample

from blear.contracts import Target
from blear.hooks import hookimpl

PLUGIN_API = 1


class Clips:
    terms = "Random numbers."
    splits = ("train", "dev")
    targets = (Target("emotion", "class", ("sad", "glad", "calm")),)
    clip = ClipSpec(6, 3, 9, 9, shortest=2)

    def __init__(self, params, context):
        pass

    def parts(self, split):
        return ["all"]

    def samples(self, split, part):
        rng = np.random.default_rng(len(split))
        for n in range(10):
            frames = rng.integers(0, 256, (2 + n % 5, 9, 9, 3), dtype=np.uint8)
            yield Sample(f"clip{n}", frames, {"emotion": n % 3})


class Pooled(nn.Module):
    def __init__(self, params, context):
        super().__init__()
        self.linear = nn.Linear(3 * context.clip.height * context.clip.width, 4)

    def forward(self, frames_BTCHW):
        return {"embedding": self.linear(frames_BTCHW.flatten(2))}


class Others(Clips):
    targets = (Target("emotion", "class", ("calm", "glad", "sad")),)


@hookimpl
def register_datasets():
    return [Component("clips", "Clips of 2 to 6 frames", Params, Clips), Component("others", "Others", Params, Others)]


@hookimpl
def register_backbones():
    return [Component("pooled", "One linear layer", Params, Pooled)]
"""

JOB = """\
name: windows
plugins: [./long_clips.py]
data:
  clips: {use: long_clips/clips}
stages:
  only:
    data: clips
    frames: {take: 3}
    augment: [{use: random_crop, size: 6}]
    backbone: {use: long_clips/pooled}
    head: {use: fer/emotion}
    optimizer: {lr: 0.05}
    batch_size: 5
    steps: 4
    validate: {every: 2, batches: 2}
evaluate:
  windows: {length: 3, stride: 2}
  sweep: {use: downscale, over: {factor: [1]}}
  arms: {only: {stage: only}}
  resamples: 20
  batch_size: 4
"""


@pytest.mark.usefixtures("storage")
def test_each_window_is_a_row_and_each_clip_a_decision(tmp_path: Path) -> None:
    (tmp_path / "long_clips.py").write_text(PLUGIN)
    (tmp_path / "job.yaml").write_text(JOB)
    job, catalog = read_job(tmp_path / "job.yaml")
    root = run_job(job, catalog, runner="local", fresh=False, command="blear run", profile=None).parent
    weights = {
        name: value.double().numpy() for name, value in load_file(root / "stages/only/model.safetensors").items()
    }
    (folder,) = (file.parent for file in root.parents[1].glob("**/dataset.json"))
    assert Prepared.open(folder).count("dev") == 10
    clips = _stored()

    table = read_predictions(root / "predictions.parquet").to_pandas()
    decided = []
    for name, (clip_TCHW, truth) in clips.items():
        starts = range(0, max(1, len(clip_TCHW) - 2), 2)
        windows = [[min(s + t, len(clip_TCHW) - 1) for t in range(3)] for s in starts]
        logits = np.stack([_logits(clip_TCHW[frames], weights) for frames in windows])
        rows = np.stack(table[table["sample"] == name]["probabilities"])
        assert rows.shape == (len(windows), 3)
        np.testing.assert_allclose(rows, _softmax(logits), atol=1e-5)
        decided.append(int(logits.mean(axis=0).argmax() == truth))
    estimate = read_summary(root / "summary.json").estimate("only", "corruptions/downscale", 1.0, "accuracy")
    assert estimate is not None
    assert (estimate.n, estimate.value) == (10, pytest.approx(np.mean(decided)))
    load_plugins.cache_clear()


@pytest.mark.usefixtures("storage")
def test_data_with_other_classes_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "long_clips.py").write_text(PLUGIN)
    (tmp_path / "job.yaml").write_text(JOB)
    overrides = ["data.others={use: long_clips/others}", "evaluate.data=others"]
    job, catalog = read_job(tmp_path / "job.yaml", overrides=overrides)
    with pytest.raises(JobError, match="'only' has the classes sad, glad, calm, the data calm, glad, sad"):
        run_job(job, catalog, runner="local", fresh=False, command="blear run", profile=None)
    load_plugins.cache_clear()


def _stored() -> dict[str, tuple[np.ndarray, int]]:
    """The clips of the split, from the plugin's own numbers."""
    rng, clips = np.random.default_rng(len("dev")), {}
    for n in range(10):
        frames = rng.integers(0, 256, (2 + n % 5, 9, 9, 3), dtype=np.uint8)
        clips[f"clip{n}"] = (frames.transpose(0, 3, 1, 2) / 255.0, n % 3)
    return clips


def _logits(window_TCHW: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """Backbone and head by hand, on the centre crop: rows and columns 2 to 7 of 9."""
    flat = window_TCHW[..., 2:8, 2:8].reshape(len(window_TCHW), -1)
    embedding = flat @ weights["backbone.linear.weight"].T + weights["backbone.linear.bias"]
    return (embedding @ weights["head.linear.weight"].T + weights["head.linear.bias"]).mean(axis=0)


def _softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(dim=-1).numpy()
