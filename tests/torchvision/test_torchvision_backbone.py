"""`torchvision/model`: features equal torchvision's, weights come from a file, errors are reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import torchvision
from blear.contracts import BuildContext, ClipSpec
from blear.errors import PluginError
from blear.testing import NotCheckedError, checks_of
from blear_torchvision import TorchvisionParams
from blear_torchvision.backbone import TorchvisionBackbone

MEAN, STD = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def build(model: str, clip: ClipSpec = ClipSpec(2, 3, 64, 64), **params) -> TorchvisionBackbone:  # noqa: B008
    torch.manual_seed(3)
    return TorchvisionBackbone(TorchvisionParams(model=model, **params), BuildContext(clip=clip)).eval()


def test_embedding_and_map_equal_those_of_torchvision() -> None:
    backbone = build("resnet18", features={"map": "layer3"})
    torch.manual_seed(3)
    plain = torchvision.models.resnet18().eval()
    frames = torch.rand(3, 2, 3, 64, 64)
    with torch.no_grad():
        found = backbone(frames)
        x = (frames.flatten(0, 1) - MEAN) / STD
        x = plain.maxpool(plain.relu(plain.bn1(plain.conv1(x))))
        level = plain.layer3(plain.layer2(plain.layer1(x)))
        embedding = plain.avgpool(plain.layer4(level)).flatten(1)
    torch.testing.assert_close(found["map"].flatten(0, 1), level)
    torch.testing.assert_close(found["embedding"].flatten(0, 1), embedding)
    assert not any("fc." in name for name in backbone.state_dict())


def test_a_file_of_torchvision_fits_by_the_named_table(tmp_path: Path) -> None:
    from blear.job.schema import StartFrom
    from blear.plugin.discovery import load_plugins
    from blear.storage.run_folder import RunFolder
    from blear.train.transfer import load_initial_weights

    table = load_plugins().get("backbone", "torchvision/model").component.rename_tables["torchvision"]
    torch.manual_seed(9)
    plain = torchvision.models.resnet18()
    save_file(plain.state_dict(), tmp_path / "resnet.safetensors")
    backbone = build("resnet18")
    report = load_initial_weights(
        backbone, StartFrom(file=str(tmp_path / "resnet.safetensors"), rename=dict(table)), RunFolder(tmp_path)
    )
    assert report is not None
    assert {name: reason for name, reason in report.skipped.items() if "fc" not in name} == {}
    assert torch.equal(backbone.net.layer4[1].conv2.weight, plain.layer4[1].conv2.weight)


def test_grey_frames_and_a_transformer_of_another_size() -> None:
    with torch.no_grad():
        grey = build("mobilenet_v3_small", ClipSpec(1, 1, 64, 64))(torch.rand(2, 1, 1, 64, 64))
        tokens = build("vit_b_32", options={"image_size": 64})(torch.rand(1, 1, 3, 64, 64))
    assert grey["embedding"].shape == (2, 1, 1024)
    assert tokens["embedding"].shape == (1, 1, 768)


def without_download(model: str, weights: str, size: int = 64) -> TorchvisionBackbone:
    """The network into which trained weights are loaded."""
    context = BuildContext(clip=ClipSpec(1, 3, size, size), pretrained=False)
    return TorchvisionBackbone(TorchvisionParams(model=model, weights=weights), context).eval()


def test_the_network_of_trained_weights_is_built_without_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the shape and preprocessing of the pretrained one: names, sizes, conversion of the input."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    backbone = without_download("googlenet", "GoogLeNet_Weights.IMAGENET1K_V1")
    assert backbone.net.transform_input
    assert backbone.state_dict().keys() == build("googlenet").state_dict().keys()
    tokens = without_download("vit_b_32", "DEFAULT", 224)
    assert tokens.net.image_size == 224
    assert not list(tmp_path.iterdir())


def test_frames_are_normalised_as_the_weights_need_it() -> None:
    """Most weights of torchvision use ImageNet's mean and deviation, these do not."""
    backbone = without_download("vgg16", "IMAGENET1K_FEATURES", 32)
    assert backbone.mean.flatten().tolist() == pytest.approx([0.48235, 0.45882, 0.40784])
    assert backbone.std.flatten().tolist() == pytest.approx([1 / 255] * 3)
    assert torch.equal(without_download("resnet18", "DEFAULT").mean, build("resnet18").mean)
    with pytest.raises(PluginError, match="resnet18 has no weights 'V9'") as caught:
        build("resnet18", weights="V9")
    assert "IMAGENET1K_V1" in caught.value.do


def test_maps_have_the_channels_first_or_are_refused() -> None:
    swin = build("swin_t", features={"block": "features.1", "merged": "features.2", "first": "features.0.0"})
    frames = torch.rand(1, 2, 3, 64, 64)
    with torch.no_grad():
        found = swin(frames)
        block = swin.net.features[:2]((frames[0] - MEAN) / STD)
    shapes = {name: tuple(found[name].shape) for name in ("block", "merged", "first")}
    assert shapes == {"block": (1, 2, 96, 16, 16), "merged": (1, 2, 192, 8, 8), "first": (1, 2, 96, 16, 16)}
    torch.testing.assert_close(found["block"][0], block.permute(0, 3, 1, 2))
    build("alexnet", ClipSpec(1, 3, 64, 192), features={"pooled": "avgpool"})  # 6 x 6 for frames of any shape
    for model, module, options in (
        ("swin_t", "features.0", {}),
        ("vit_b_32", "encoder.layers.encoder_layer_3", {"image_size": 64}),
        ("resnet18", "fc", {}),
    ):
        with pytest.raises(PluginError, match=r"is no map .* but of shape") as caught:
            build(model, features={"map": module}, options=options)
        assert "timm/model" in caught.value.do


def test_mistakes_are_named() -> None:
    with pytest.raises(PluginError, match="no classification network 'resnet17'") as caught:
        build("resnet17")
    assert "resnet18" in caught.value.do or "resnet" in caught.value.do
    with pytest.raises(PluginError, match="has no module 'layer9'"):
        build("resnet18", features={"map": "layer9"})
    with pytest.raises(PluginError, match="rejects it"):
        build("resnet18", options={"rooms": 3})
    with pytest.raises(PluginError, match="no linear layer"):
        build("squeezenet1_1")
    with pytest.raises(PluginError, match="takes no frames of 3 x 64 x 64"):
        build("vit_b_32")


def test_the_declaration_imports_no_torchvision() -> None:
    code = "import sys, blear_torchvision, blear_python; assert not {'torch', 'torchvision'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_conformance() -> None:
    asked = 0
    for check in checks_of("torchvision"):
        try:
            check()
        except NotCheckedError:
            continue
        asked += 1
    assert asked >= 12
