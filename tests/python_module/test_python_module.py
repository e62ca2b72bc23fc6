"""`python/module`: any importable callable as a backbone, checked like one of a plugin."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from blear.contracts import BuildContext, ClipSpec
from blear.errors import PluginError
from blear.job.reader import read_job
from blear.pipeline.data_facts import data_facts
from blear.pipeline.dry_run import dry_run
from blear.testing import NotCheckedError, checks_of
from blear_python import ModuleParams
from blear_python.backbone import ModuleBackbone

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2)
        self.fc = nn.Linear(width, 10)

    def forward(self, x):
        maps = self.conv(x).relu()
        return {"logits": self.fc(maps.mean(dim=(2, 3))), "pair": (maps, maps.mean(dim=(2, 3)))}


class OfClips(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 5, 3, padding=1)

    def forward(self, clips):
        return self.conv(clips.transpose(1, 2)).mean(dim=(2, 3, 4))


def nothing():
    return 3


def broken():
    raise KeyError("a key")
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """build("Net", ...) -> the backbone of a class of the module `blear_test_net` in the working folder."""
    (tmp_path / "blear_test_net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)

    def build(name: str, clip: ClipSpec = ClipSpec(2, 3, 12, 12), **params) -> ModuleBackbone:  # noqa: B008
        torch.manual_seed(1)
        path = name if ":" in name else f"blear_test_net:{name}"
        return ModuleBackbone(ModuleParams(path=path, **params), BuildContext(clip=clip)).eval()

    return build


def test_outputs_and_modules_become_features(net) -> None:
    features = {"embedding": "output.logits", "map": "conv"}
    backbone = net("Net", arguments={"width": 6}, features=features, mean=[0.5, 0.4, 0.3], std=0.2)
    frames = torch.rand(3, 2, 3, 12, 12)
    x = (frames.flatten(0, 1) - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / 0.2
    with torch.no_grad():
        found = backbone(frames)
        maps = nn.functional.conv2d(x, backbone.net.conv.weight, backbone.net.conv.bias, stride=2)
        logits = maps.relu().mean(dim=(2, 3)) @ backbone.net.fc.weight.T + backbone.net.fc.bias
    torch.testing.assert_close(found["map"].flatten(0, 1), maps)
    torch.testing.assert_close(found["embedding"].flatten(0, 1), logits)


def test_channels_dropped_modules_and_clips(net) -> None:
    grey = ClipSpec(1, 1, 12, 12)
    backbone = net("Net", grey, features={"embedding": "output.logits"}, drop=["fc"], channels=3)
    assert [name for name, _ in backbone.named_parameters()] == ["net.conv.weight", "net.conv.bias"]
    assert backbone(torch.rand(2, 1, 1, 12, 12))["embedding"].shape == (2, 1, 4)
    pooled = net("Net", features={"embedding": "conv"})
    assert pooled(torch.rand(2, 2, 3, 12, 12))["embedding"].shape == (2, 2, 4)
    clips = net("OfClips", ClipSpec(4, 3, 12, 12), channels=1, clips=True)
    frames = torch.rand(2, 4, 3, 12, 12)
    luma = (frames * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=2, keepdim=True)
    expected = clips.net(luma)[:, None]
    torch.testing.assert_close(clips(frames)["embedding"], expected)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("no_such_module:f", {}, "cannot be built: ModuleNotFoundError"),
        ("Absent", {}, "cannot be built: AttributeError"),
        ("broken", {}, "cannot be built: KeyError: 'a key'"),
        ("nothing", {}, "returns int"),
        ("Net", {"features": {"map": "convv"}}, "has no module 'convv'"),
        ("Net", {"drop": ["head"]}, "has no module 'head'"),
        ("Net", {}, "'embedding' is dict, not a tensor"),
        ("Net", {"features": {"embedding": "output.scores"}}, "the output has no part 'scores'"),
        ("Net", {"features": {"map": "output.logits"}}, r"'map' has the shape .* expected \[B, T, C, h, w\]"),
        ("Net", {"channels": 1, "features": {"map": "conv"}}, "takes no clips of 2 x 3 x 12 x 12"),
    ],
)
def test_mistakes_are_named(net, name: str, params: dict, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        net(name, **params)


def test_a_job_names_a_callable_without_a_plugin(net, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("""name: mine
data: {faces: {use: faces/procedural, size: 32, subjects: {train: 2, dev: 2}, per_subject: 4}}
stages:
  only:
    data: faces
    backbone: {use: module, path: "blear_test_net:Net", drop: [fc], features: {embedding: output.logits}}
    head: {use: fer/emotion}
    optimizer: {lr: 0.01}
    steps: 1
    batch_size: 4
""")
    job, catalog = read_job(tmp_path / "job.yaml")
    assert job.stages["only"].backbone.use == "python/module"
    assert dry_run(job, catalog, data_facts(job, catalog)[0]) == []


def test_conformance() -> None:
    asked = 0
    for check in checks_of("python"):
        try:
            check()
        except NotCheckedError:
            continue
        asked += 1
    assert asked >= 6


def test_a_normalisation_that_gives_no_numbers_is_refused() -> None:
    for given in ({"std": 0}, {"std": [0.2, 0.0, 0.2]}, {"mean": float("nan")}, {"drop": [""]}):
        with pytest.raises(ValidationError):
            ModuleParams(path="torchvision.models:resnet18", **given)
