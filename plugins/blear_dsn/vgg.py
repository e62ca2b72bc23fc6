"""The trunk of DSN-VGG-Face: VGG-16's convolutions with three changes (Fan, Lam, Li 2018; spec section 3.1)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from blear.contracts import BuildContext, Features
from blear_dsn.network_input import NetworkInput, channels, checked_clip, features, initialise_kaiming_
from blear_dsn.params import VggParams

_COUNTS = (64, 128, 256, 512, 512)
_DEPTHS = (2, 2, 3, 3, 3)
_PADDING = 5  # of conv1_1: 224 becomes 232


class Vgg(nn.Module):
    """Frames [B, T, C, H, W] -> `stage1` to `stage6` [B, T, C, h, w], `input`, `embedding` [B, T, 512].

    The stages are conv1_2, conv2_2, conv3_3, conv4_3, conv5_3 after ReLU, and pool5a. At 224x224 they have 232, 116,
    58, 29, 15 and 8 rows. Differences from VGG-16: conv1_1 has a padding of 5, pool4 and pool5 have 3x3 windows, and
    there is an average pooling pool5a that includes its padding. Poolings have `ceil_mode`, as in Caffe. Parameter
    names are those of VGG-Face's Caffe model, conv1_1 to conv5_3; 14,714,688 parameters.

    Raises:
        PluginError: the clip's shape is unknown, has neither 1 nor 3 channels, or is below 16 pixels.
    """

    def __init__(self, params: VggParams, context: BuildContext) -> None:
        super().__init__()
        checked_clip(context, "dsn/vgg", smallest=16)
        self.input = NetworkInput(params)
        inputs = 3
        for stage, (outputs, depth) in enumerate(zip(channels(_COUNTS, params.width), _DEPTHS, strict=True), 1):
            for number in range(1, depth + 1):
                padding = _PADDING if (stage, number) == (1, 1) else 1
                self.add_module(f"conv{stage}_{number}", nn.Conv2d(inputs, outputs, 3, padding=padding))
                inputs = outputs
        initialise_kaiming_(self)

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """See the class."""
        inputs = x = self.input(frames_BTCHW)
        stages = {}
        for stage, depth in enumerate(_DEPTHS, 1):
            for number in range(1, depth + 1):
                x = getattr(self, f"conv{stage}_{number}")(x).relu_()
            stages[f"stage{stage}"] = x
            x = max_pool2d(x, 2, ceil_mode=True) if stage < 4 else max_pool2d(x, 3, 2, padding=1, ceil_mode=True)
        stages["stage6"] = avg_pool2d(x, 3, stride=1, padding=1)
        return features(inputs, stages, frames_BTCHW.shape[:2])
