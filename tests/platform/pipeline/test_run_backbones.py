"""Jobs from data to report with backbones of unusual kinds: 3-D convolutions, modules that keep activations."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from blear.job.reader import read_job
from blear.pipeline.prepare import prepare_data
from blear.pipeline.run import run_job
from blear.testing import NotCheckedError, checks_of

R3D = '''"""An R3D-like network: a 3-D stem and one residual block."""

from blear.contracts import Component, Params
from blear.hooks import hookimpl
from pydantic import Field
from torch import nn
from torch.nn.functional import relu

PLUGIN_API = 1


class NetParams(Params):
    width: int = Field(4, ge=1, description="channels of the stem")


class Net(nn.Module):
    def __init__(self, params, context):
        super().__init__()
        width = params.width
        self.stem = nn.Conv3d(context.clip.channels, width, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
        self.norm = nn.BatchNorm3d(width)
        self.conv1 = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm3d(width)

    def forward(self, frames_BTCHW):
        x = relu(self.norm(self.stem(frames_BTCHW.transpose(1, 2))))
        x = relu(x + self.norm2(self.conv2(relu(self.norm1(self.conv1(x))))))
        x = x.transpose(1, 2)
        return {"map": x, "embedding": x.mean(dim=(3, 4))}


@hookimpl
def register_backbones():
    return [Component("net", "A 3-D stem and one residual block", NetParams, Net)]
'''

KEEPS = '''"""A network that keeps its last feature map as an attribute."""

from blear.contracts import Component, Params
from blear.hooks import hookimpl
from torch import nn
from torch.nn.functional import relu

PLUGIN_API = 1


class Net(nn.Module):
    def __init__(self, params, context):
        super().__init__()
        self.conv = nn.Conv2d(context.clip.channels, 4, 3, stride=2, padding=1)

    def forward(self, frames_BTCHW):
        x = relu(self.conv(frames_BTCHW.flatten(0, 1)))
        self.last_map = x
        return {"embedding": x.mean(dim=(2, 3)).unflatten(0, frames_BTCHW.shape[:2])}


@hookimpl
def register_backbones():
    return [Component("net", "One convolution", Params, Net)]
'''

JOB = """name: NAME
plugins: [./NAME.py]
data:
  clips:
    {use: faces/procedural, size: 24, color: luma, frames: 3, targets: [emotion], subjects: {train: 1, dev: 1},
     per_subject: 7, recordings: 7}
stages:
  clean:
    data: clips
    backbone: {use: NAME/net}
    head: {use: fer/emotion, target: emotion}
    optimizer: {use: sgd, lr: 0.01}
    batch_size: 7
    steps: 3
    checkpoint_every: 2
    ema: 0.9
evaluate:
  sweep: {use: downscale, over: {factor: [1, 2]}}
  resamples: 20
  arms:
    one: {stage: clean}
"""


def job(folder: Path, name: str, plugin: str) -> Path:
    (folder / f"{name}.py").write_text(plugin)
    path = folder / f"{name}.yaml"
    path.write_text(JOB.replace("NAME", name))
    return path


@pytest.mark.parametrize(("name", "plugin"), [("r3dlike", R3D), ("keepsmap", KEEPS)])
def test_the_job_ends_with_a_report(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, name: str, plugin: str
) -> None:
    """Default `cluster.channels_last: true`, a checkpoint after two steps, a moving average."""
    monkeypatch.setenv("BLEAR_STORAGE", str(tmp_path_factory.getbasetemp() / "run_backbones"))  # the same shards
    read, catalog = read_job(job(tmp_path, name, plugin))
    prepare_data(read, catalog, workers=1)
    report = run_job(read, catalog, runner="local", fresh=False, command="", profile=None)
    assert report.name == "report.html"
    assert json.loads((report.parent / "stages" / "clean" / "stage.json").read_text())["steps"] == 3


@pytest.mark.parametrize(("name", "plugin"), [("r3dsuite", R3D), ("keepssuite", KEEPS)])
def test_the_plugin_conforms(tmp_path: Path, name: str, plugin: str) -> None:
    job(tmp_path, name, plugin)
    for check in checks_of(str(tmp_path / f"{name}.py")):
        with contextlib.suppress(NotCheckedError):  # of the GPU
            check()
