"""The trunk of the baseline DenseNet-121 (spec section 3.3), as in torchvision."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import DenseNet

from blear.contracts import BuildContext, Features
from blear_dsn.network_input import NetworkInput, channels, checked_clip, features
from blear_dsn.params import DensenetParams

_DEPTHS = (6, 12, 24, 16)


class Densenet(nn.Module):
    """Frames [B, T, C, H, W] -> `map` [B, T, 1024, h, w] after ReLU, `input`, `embedding` [B, T, 1024] (mean of `map`).

    h and w are 1/32 of the input's height and width, rounded up with `ceil_mode`. Parameter names are torchvision's;
    6,953,856 parameters.

    Raises:
        PluginError: the clip's shape is unknown, has neither 1 nor 3 channels, or is below 32 pixels.
    """

    def __init__(self, params: DensenetParams, context: BuildContext) -> None:
        super().__init__()
        checked_clip(context, "dsn/densenet121", smallest=32)
        self.input = NetworkInput(params)
        growth, first = channels((32, 64), params.width)
        self.features: nn.Sequential = DenseNet(growth, _DEPTHS, first).features
        for module in self.features.modules():
            if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
                module.ceil_mode = params.ceil_mode

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """See the class."""
        inputs = self.input(frames_BTCHW)
        return features(inputs, {"map": self.features(inputs).relu()}, frames_BTCHW.shape[:2])
