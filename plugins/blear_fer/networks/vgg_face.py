"""VGG-Face (Parkhi, Vedaldi, Zisserman, BMVC 2015) in the form of the FER-VGG-GRU system (spec 3.1 and 3.2).

Public parameter names: `features.N` with N = 0, 2, 5, ... 28 as in torchvision's vgg16, `fc6`, `fc7`.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn.functional import relu
from torchvision.models.vgg import cfgs, make_layers

from blear.contracts import BuildContext, Features
from blear_fer.networks.frame_input import FrameInput
from blear_fer.networks.initialisation import initialise_
from blear_fer.networks.params import VggFaceParams

POOLS = 5
_HIDDEN = 4096


class VggFace(nn.Module):
    """Frames [B, T, C, H, W] -> `embedding` [B, T, 4096]. Frames are independent of each other.

    13 convolutions 3x3, five max poolings (`ceil_mode`), fc6 and ReLU. With `layers: fc7` also fc7, and dropout 0.5
    after fc6 and after fc7. At 224x224 the last map is 512x7x7. With a linear layer to 7 classes the model has
    134,289,223 parameters.

    Raises:
        PluginError: the clip's shape is unknown, or it has neither one nor three channels.
    """

    def __init__(self, params: VggFaceParams, context: BuildContext) -> None:
        super().__init__()
        self.input = FrameInput(params, params.normalise, context, "fer/vgg_face")
        plan = [step if isinstance(step, str) else max(1, round(step * params.width)) for step in cfgs["D"]]
        self.features = make_layers(plan)
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True
        channels = next(step for step in reversed(plan) if isinstance(step, int))
        hidden = max(1, round(_HIDDEN * params.width))
        self.fc6 = nn.Linear(channels * pooled(self.input.height) * pooled(self.input.width), hidden)
        self.fc7 = nn.Linear(hidden, hidden) if params.layers == "fc7" else None
        self.dropout = nn.Dropout(0.5)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                # PyTorch's default initialisation makes the signal vanish over 15 layers
                initialise_(layer, partial(nn.init.kaiming_normal_, nonlinearity="relu"))

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """`embedding` [B, T, D]."""
        x = relu(self.fc6(self.features(self.input(frames_BTCHW)).flatten(1)))
        if self.fc7 is not None:
            x = self.dropout(relu(self.fc7(self.dropout(x))))
        return {"embedding": x.unflatten(0, frames_BTCHW.shape[:2])}


def pooled(pixels: int) -> int:
    """Returns the rows (columns) after the five poolings for an input of `pixels` rows."""
    for _ in range(POOLS):
        pixels = -(-pixels // 2)
    return pixels
