"""`timm/model`: features and embedding equal timm's; errors are reported."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import blear
from blear.contracts import BuildContext, ClipSpec, Target
from blear.errors import PluginError
from blear.job.schema import StartFrom
from blear.models.card import ModelCard
from blear.models.model import Model
from blear.plugin.discovery import load_plugins
from blear.storage.run_folder import RunFolder
from blear.testing import NotCheckedError, checks_of
from blear.train.transfer import load_initial_weights
from blear_timm import TimmParams
from blear_timm.backbone import TimmBackbone


def build(model, clip=ClipSpec(2, 3, 64, 64), **params):  # noqa: B008  a frozen value
    torch.manual_seed(3)
    return TimmBackbone(TimmParams(model=model, **params), BuildContext(clip=clip)).eval()


@pytest.mark.parametrize("model", ["resnet10t", "mobilenetv3_small_050", "convnext_atto"])
def test_features_equal_timms(model):
    backbone = build(model)
    frames = torch.rand(3, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(3)
    plain = timm.create_model(model, num_classes=0).eval()
    config = plain.pretrained_cfg
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        found = backbone(frames)
        images = (frames.flatten(0, 1) - mean) / std
        torch.testing.assert_close(found["embedding"].flatten(0, 1), plain(images))
        levels = plain.forward_intermediates(images, intermediates_only=True)
    assert list(found) == ["embedding", *(f"layer{n}" for n in range(1, len(levels) + 1))]
    for number, level in enumerate(levels, 1):
        torch.testing.assert_close(found[f"layer{number}"].flatten(0, 1), level)
    sizes = [level.shape[-1] for level in levels]
    assert sizes == sorted(sizes, reverse=True)


def test_grey_frames_and_a_transformer_of_another_size():
    backbone = build("vit_tiny_patch16_224", ClipSpec(1, 1, 48, 48), options={"img_size": 48})
    assert backbone.mean.flatten().tolist() == pytest.approx([0.5])
    with torch.no_grad():
        found = backbone(torch.rand(2, 1, 1, 48, 48))
    assert found["embedding"].shape == (2, 1, 192)
    assert found["layer12"].shape == (2, 1, 192, 3, 3)


def test_conformance():
    asked = 0
    for check in checks_of("timm"):
        try:
            check()
        except NotCheckedError:
            continue
        asked += 1
    assert asked >= 14


def test_options_reach_timm():
    assert build("resnet10t", options={"drop_path_rate": 0.25}).net.layer4[0].drop_path.drop_prob == pytest.approx(0.25)
    with pytest.raises(PluginError, match="timm rejects"):
        build("resnet10t", options={"no_such_option": 1})


def test_errors_of_timm_are_reported(monkeypatch):
    with pytest.raises(PluginError, match="timm has no network 'resnet19'") as caught:
        build("resnet19")
    assert "resnet18" in caught.value.do
    with pytest.raises(PluginError, match="takes no frames of 3 x 64 x 64"):
        build("vit_tiny_patch16_224")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PluginError, match="timm's weights cannot be had"):
        build("resnet10t", pretrained=True)


def test_a_model_with_pretrained_weights_is_loaded_without_a_connection(tmp_path, monkeypatch):
    """Its own weights replace timm's: `blear.load` and evaluation download nothing."""
    network = {
        "backbone": {"use": "timm/model", "model": "resnet10t", "pretrained": True},
        "head": {"use": "fer/emotion"},
    }
    target = Target("emotion", "class", ("sad", "happy"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = Model(ModelCard(name="m", network=network, clip=ClipSpec(1, 3, 32, 32), targets=(target,)))
    loaded = blear.load(model.save(tmp_path / "m"))
    assert loaded.card.network["backbone"]["pretrained"]
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    assert torch.equal(loaded(frames)["emotion"], model(frames)["emotion"])


def test_a_file_of_timm_fits_by_the_named_table(tmp_path):
    table = load_plugins().get("backbone", "timm/model").component.rename_tables["timm"]
    torch.manual_seed(9)
    plain = timm.create_model("resnet10t")
    save_file(plain.state_dict(), tmp_path / "resnet.safetensors")
    backbone, spec = build("resnet10t"), StartFrom(file=str(tmp_path / "resnet.safetensors"), rename=dict(table))
    report = load_initial_weights(backbone, spec, RunFolder(tmp_path))
    assert list(report.skipped) == ["net.fc.bias", "net.fc.weight"]
    assert torch.equal(backbone.net.layer4[0].conv2.weight, plain.layer4[0].conv2.weight)
