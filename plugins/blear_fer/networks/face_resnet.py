"""The face ResNet of the center loss (Wen, Zhang, Li, Qiao, ECCV 2016) with batch normalisation: spec 3.3.

Public parameter names: conv1_a, conv1_b, conv2, conv3, conv4 with bn..., layer1 to layer4, fc5.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from blear.contracts import BuildContext, Features
from blear.errors import PluginError
from blear_fer.networks.frame_input import FrameInput
from blear_fer.networks.initialisation import initialise_
from blear_fer.networks.params import FaceResnetParams

_NAME = "fer/face_resnet"
_UNITS = (1, 2, 5, 3)


class ResidualUnit(nn.Module):
    """Residual unit x + ReLU(conv2(ReLU(conv1(x)))), without normalisation and without ReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for layer in (self.conv1, self.conv2):
            initialise_(layer, partial(nn.init.normal_, std=0.01))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Maps of the same shape."""
        return x_NCHW + relu(self.conv2(relu(self.conv1(x_NCHW))))


class FaceResnet(nn.Module):
    """Frames [B, T, C, H, W] -> `embedding` [B, T, 512] (fc5, linear) and the maps `p1` and `p3` [B, T, C, h, w].

    Shapes at 112x96: `p1` 64x54x46 after the first pooling, `p3` 256x12x10 after the third, 512x5x4 before fc5. The
    convolutions have 22,294,400 parameters, fc5 has 5,243,392. In training, batch normalisation uses the statistics
    of all frames of the batch.

    Raises:
        PluginError: the clip's shape is unknown, too small for the poolings (below 48 pixels), or it has neither one
            nor three channels.
    """

    def __init__(self, params: FaceResnetParams, context: BuildContext) -> None:
        super().__init__()
        self.input = FrameInput(params, params.normalise, context, _NAME)
        sides = [pooled(side) for side in (self.input.height, self.input.width)]
        if min(sides) < 1:
            what = f"frames of {self.input.height} x {self.input.width} pixels are too small for its poolings"
            raise PluginError(what, _NAME, "use data of at least 48 x 48 pixels, or set `size`")
        first, c1, c2, c3, c4, hidden = (max(1, round(n * params.width)) for n in (32, 64, 128, 256, 512, 512))
        self.conv1_a, self.bn1_a = _valid(3, first)
        self.conv1_b, self.bn1_b = _valid(first, c1)
        self.conv2, self.bn2 = _valid(c1, c2)
        self.conv3, self.bn3 = _valid(c2, c3)
        self.conv4, self.bn4 = _valid(c3, c4)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(*(ResidualUnit(channels) for _ in range(units)))
            for units, channels in zip(_UNITS, (c1, c2, c3, c4), strict=True)
        )
        self.fc5 = nn.Linear(c4 * sides[0] * sides[1], hidden)
        self.dropout = nn.Dropout(params.conv_dropout)

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """`embedding` [B, T, D], `p1` and `p3` [B, T, C, h, w]."""
        x = self.dropout(relu(self.bn1_a(self.conv1_a(self.input(frames_BTCHW)))))
        p1 = _pooled_relu(self.bn1_b(self.conv1_b(x)))
        x = self.layer1(p1)
        x = self.layer2(_pooled_relu(self.bn2(self.conv2(x))))
        p3 = _pooled_relu(self.bn3(self.conv3(self.dropout(x))))
        x = self.layer3(p3)
        x = self.layer4(_pooled_relu(self.bn4(self.conv4(x))))
        features = {"embedding": self.fc5(x.flatten(1)), "p1": p1, "p3": p3}
        return {name: value.unflatten(0, frames_BTCHW.shape[:2]) for name, value in features.items()}


def pooled(pixels: int) -> int:
    """Returns the rows (columns) of the last map for an input of `pixels` rows. Below 1: the input is too small."""
    pixels = (pixels - 4) // 2
    for _ in range(3):
        pixels = (pixels - 2) // 2
    return pixels


def _valid(inputs: int, outputs: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Returns an unpadded 3x3 convolution and its batch normalisation."""
    convolution = nn.Conv2d(inputs, outputs, 3)
    initialise_(convolution, nn.init.xavier_uniform_)
    return convolution, nn.BatchNorm2d(outputs)


def _pooled_relu(x_NCHW: Tensor) -> Tensor:
    return relu(max_pool2d(x_NCHW, 2))  # equal to pooling after ReLU, with a quarter of the ReLUs
