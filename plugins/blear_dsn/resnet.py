"""The trunk of DSN-ResNet-50 (spec section 3.2): Caffe's variant of ResNet with frozen batch normalisation."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from blear.contracts import BuildContext, Features
from blear_dsn.network_input import NetworkInput, channels, checked_clip, features, initialise_kaiming_
from blear_dsn.params import ResnetParams

_WIDTHS = (64, 128, 256, 512)
_EXPANSION = 4
_BLOCKS = {
    50: {2: "a b c", 3: "a b c d", 4: "a b c d e f", 5: "a b c"},
    101: {2: "a b c", 3: "a b1 b2 b3", 4: " ".join(["a", *(f"b{n}" for n in range(1, 23))]), 5: "a b c"},
}
"""Number of layers -> group -> names of its blocks in Caffe's models."""

_Norm = Callable[[int], nn.BatchNorm2d]


class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics, scale and shift stay as loaded, also in training."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> FrozenBatchNorm:
        """Sets evaluation mode, whatever `mode` is."""
        return super().train(False)


class Resnet(nn.Module):
    """Frames [B, T, C, H, W] -> `stage2` to `stage6` [B, T, C, h, w], `input`, `embedding` [B, T, 2048].

    The stages are conv1 after ReLU and the outputs of the groups res2 to res5. At 224x224 they have 112, 56, 28, 14 and
    7 rows, 14 instead of 7 with `dilated`. As in Caffe's model, the first 1x1 convolutions of a group have its stride,
    and pool1 has no padding and `ceil_mode`. Parameter names are Caffe's, `res2a_branch2a`, `bn2a_branch2a`; the layers
    `scale*` of Caffe are the scale and shift of `bn*` here: `start_from: {file: ..., rename: resnet_caffe}`. 23,508,032
    parameters.

    Raises:
        PluginError: the clip's shape is unknown, has neither 1 nor 3 channels, or is below 32 pixels.
    """

    def __init__(self, params: ResnetParams, context: BuildContext) -> None:
        super().__init__()
        checked_clip(context, "dsn/resnet50", smallest=32)
        norm: _Norm = FrozenBatchNorm if params.norm == "frozen" else nn.BatchNorm2d
        self.input = NetworkInput(params)
        widths = channels(_WIDTHS, params.width)
        self.conv1 = nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=params.conv1_bias)
        self.bn_conv1 = norm(widths[0])
        self._groups = [
            [f"{group}{block}" for block in names.split()] for group, names in _BLOCKS[params.layers].items()
        ]
        inputs = widths[0]
        for blocks, width in zip(self._groups, widths, strict=True):
            outputs = _EXPANSION * width
            dilation = 2 if params.dilated and blocks is self._groups[-1] else 1
            stride = 1 if blocks is self._groups[0] or dilation > 1 else 2
            self._add(f"{blocks[0]}_branch1", nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm)
            for block in blocks:
                first = stride if block is blocks[0] else 1
                self._add(f"{block}_branch2a", nn.Conv2d(inputs, width, 1, first, bias=False), norm)
                self._add(f"{block}_branch2b", _conv_3x3(width, dilation), norm)
                self._add(f"{block}_branch2c", nn.Conv2d(width, outputs, 1, bias=False), norm)
                inputs = outputs
        initialise_kaiming_(self)

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """See the class."""
        inputs = self.input(frames_BTCHW)
        x = self.bn_conv1(self.conv1(inputs)).relu_()
        stages = {"stage2": x}
        x = max_pool2d(x, 3, 2, ceil_mode=True)
        for stage, blocks in enumerate(self._groups, 3):
            for block in blocks:
                shortcut = self._conv_norm(f"{block}_branch1", x) if block is blocks[0] else x
                x = self._conv_norm(f"{block}_branch2b", self._conv_norm(f"{block}_branch2a", x).relu_()).relu_()
                x = (self._conv_norm(f"{block}_branch2c", x) + shortcut).relu_()
            stages[f"stage{stage}"] = x
        return features(inputs, stages, frames_BTCHW.shape[:2])

    def _add(self, name: str, convolution: nn.Conv2d, norm: _Norm) -> None:
        self.add_module(f"res{name}", convolution)
        self.add_module(f"bn{name}", norm(convolution.out_channels))

    def _conv_norm(self, name: str, x: Tensor) -> Tensor:
        return getattr(self, f"bn{name}")(getattr(self, f"res{name}")(x))


def _conv_3x3(channels: int, dilation: int) -> nn.Conv2d:
    """Keeps height and width."""
    return nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
