"""The plain residual network: sizes, shapes, channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blear.contracts import BuildContext, ClipSpec
from blear.errors import PluginError
from blear_robust.params import PlainResNetParams
from blear_robust.plain_resnet import PlainResNet


def built(clip: ClipSpec, **params: object) -> PlainResNet:
    return PlainResNet(PlainResNetParams(**params), BuildContext(clip=clip))


def macs(network: nn.Module, clip: ClipSpec) -> int:
    """Multiply-accumulates of all convolutions for one frame, counted in a forward pass."""
    total = [0]

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        total[0] += output.shape[2] * output.shape[3] * module.weight.numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    network.eval()(torch.rand(1, 1, clip.channels, clip.height, clip.width))
    return total[0]


@pytest.mark.parametrize(
    ("params", "parameters", "mmac"),
    [({}, 1_938_400, 159.9), ({"channels": [24, 48, 96, 192]}, 1_090_920, 90.1)],
)
def test_size_and_cost_at_48_pixels(params: dict, parameters: int, mmac: float) -> None:
    clip = ClipSpec(1, 1, 48, 48)
    network = built(clip, **params)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert macs(network, clip) / 1e6 == pytest.approx(mmac, abs=0.1)


def test_features_of_grey_and_colour_clips_of_any_size() -> None:
    grey = built(ClipSpec(3, 1, 32, 40), width=0.25)(torch.rand(2, 3, 1, 32, 40))
    assert {name: tuple(value.shape) for name, value in grey.items()} == {
        "stage1": (2, 3, 8, 32, 40),
        "stage2": (2, 3, 16, 16, 20),
        "stage3": (2, 3, 32, 8, 10),
        "stage4": (2, 3, 64, 4, 5),
        "embedding": (2, 3, 64),
    }
    torch.testing.assert_close(grey["embedding"], grey["stage4"].mean(dim=(-2, -1)))
    colour = built(ClipSpec(1, 3, 16, 16), channels=[8, 8], blocks=[1, 0], mean=(0.5, 0.4, 0.3), std=(1, 2, 3))
    frames = torch.rand(1, 1, 3, 16, 16)
    seen = (frames[:, 0] - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([1.0, 2, 3]).view(3, 1, 1)
    torch.testing.assert_close(colour(frames)["stage1"][:, 0], colour.stages[0](seen))


def test_parameters_that_do_not_fit_are_errors() -> None:
    with pytest.raises(PluginError, match="3 values of `mean` for frames of 1 channels"):
        built(ClipSpec(1, 1, 48, 48), mean=(0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="2 channels and 1 blocks"):
        PlainResNetParams(channels=[8, 8], blocks=[1])
