"""The paper's general recogniser: d convolutions with poolings. Its first k convolutions can be built alone (3.1)."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from blear.contracts import BuildContext, Features
from blear.errors import PluginError
from blear_adverse.layers import NetworkInput, initialise_, require_clip
from blear_adverse.params import CnnParams

_NAME = "adverse/cnn"


class Cnn(nn.Module):
    """Frames [B, T, C, H, W] -> maps `conv1`, `conv2`, ... [B, T, C, h, w] after ReLU and pooling, and `embedding`.

    `embedding` [B, T, D] is the hidden layer after ReLU and dropout, or the mean of the last map. With `until` there is
    no embedding. Public parameter names: conv1 to convN, then fc(N+1). Poolings have `ceil_mode`, as in Caffe.

    Raises:
        PluginError: the clip's shape is unknown, or too small for the convolutions.
    """

    def __init__(self, params: CnnParams, context: BuildContext) -> None:
        super().__init__()
        clip = require_clip(context, _NAME)
        self.input = NetworkInput(params.mean, params.std, clip, _NAME)
        depth = params.depth
        self._pools = params.pools[:depth]
        channels = [clip.channels, *(max(1, round(n * params.width)) for n in params.channels[:depth])]
        sizes = map_sizes(params, clip.height), map_sizes(params, clip.width)
        for number, (inputs, outputs) in enumerate(pairwise(channels), 1):
            kernel = params.kernels[number - 1]
            if min(sizes[0][number - 1], sizes[1][number - 1]) < 1:
                what = f"clips of {clip.width}x{clip.height} pixels are too small for conv{number}"
                raise PluginError(what, _NAME, "use larger clips, smaller kernels or poolings, or padded: true")
            padding = kernel // 2 if params.padded else 0
            self.add_module(f"conv{number}", nn.Conv2d(inputs, outputs, kernel, padding=padding))
        self._has_embedding = params.until is None
        self._hidden = f"fc{depth + 1}" if self._has_embedding and params.hidden is not None else None
        if self._hidden is not None and params.hidden is not None:
            area = sizes[0][-1] * sizes[1][-1]
            self.add_module(self._hidden, nn.Linear(channels[-1] * area, max(1, round(params.hidden * params.width))))
        self.dropout = nn.Dropout(params.dropout)
        for layer in self.children():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                initialise_(layer, params.init)

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """See the class."""
        x = self.input(frames_BTCHW)
        features = {}
        for number, pool in enumerate(self._pools, 1):
            x = cast(Tensor, getattr(self, f"conv{number}")(x))
            # equal to pooling after ReLU, with fewer ReLUs
            x = relu(max_pool2d(x, pool, ceil_mode=True) if pool > 1 else x)
            features[f"conv{number}"] = x
        if self._hidden is not None:
            features["embedding"] = self.dropout(relu(getattr(self, self._hidden)(x.flatten(1))))
        elif self._has_embedding:
            features["embedding"] = self.dropout(x.mean(dim=(-2, -1)))
        return {name: value.unflatten(0, frames_BTCHW.shape[:2]) for name, value in features.items()}


def map_sizes(params: CnnParams, pixels: int) -> list[int]:
    """Returns the rows (columns) of each map for an input of `pixels` rows. Below 1: the input is too small."""
    sizes = []
    for kernel, pool in zip(params.kernels[: params.depth], params.pools[: params.depth], strict=True):
        pixels = -(-(pixels if params.padded else pixels - kernel + 1) // pool)
        sizes.append(pixels)
    return sizes
