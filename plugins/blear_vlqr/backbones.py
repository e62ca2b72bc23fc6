"""The recogniser CNN+D and the super-resolution network. conv1 to conv3 have the same names and shapes in both."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from blear.contracts import BuildContext, ClipSpec, Features
from blear.errors import PluginError
from blear_vlqr.caffe import initialise_
from blear_vlqr.params import Cnn5x5Params, Srcnn5x5Params

_KERNEL = 5
_HIDDEN = 300


class _Channels(NamedTuple):
    conv1: int
    conv2: int
    conv3: int


class Cnn5x5(nn.Module):
    """CNN+D: frames [B, T, C, H, W] -> `embedding` [B, T, 300] after ReLU and dropout.

    Convolutions are unpadded; poolings have `ceil_mode`, as in Caffe. At 96x96 the maps have 92, 46, 42, 21, 17 and 5
    rows, and fc4 has 6400 inputs. Public parameter names: conv1, conv2, conv3, fc4.

    Raises:
        PluginError: the clip's shape is unknown, or too small for the poolings (below 29 pixels).
    """

    def __init__(self, params: Cnn5x5Params, context: BuildContext) -> None:
        super().__init__()
        self.mean, self.std, self.size = params.mean, params.std, params.size
        clip = _clip(context, "vlqr/cnn5x5", smallest=29)
        height, width = (n if params.size is None else min(n, params.size) for n in (clip.height, clip.width))
        channels = _channels(params.width)
        self.conv1, self.conv2, self.conv3 = _convolutions(clip.channels, channels)
        area = pooled_size(height) * pooled_size(width)
        self.fc4 = nn.Linear(channels.conv3 * area, max(1, round(_HIDDEN * params.width)))
        self.dropout = nn.Dropout(params.dropout)
        for layer in (self.conv1, self.conv2, self.conv3, self.fc4):
            initialise_(layer, params.init)

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """`embedding` [B, T, D]."""
        x = (_centre(frames_BTCHW.flatten(0, 1), self.size) - self.mean) / self.std
        # equal to pooling after ReLU, with fewer ReLUs
        x = relu(max_pool2d(self.conv1(x), 2, ceil_mode=True))
        x = relu(max_pool2d(self.conv2(x), 2, ceil_mode=True))
        x = relu(max_pool2d(self.conv3(x), 4, ceil_mode=True))
        embedding = self.dropout(relu(self.fc4(x.flatten(1))))
        return {"embedding": embedding.unflatten(0, frames_BTCHW.shape[:2])}


class Srcnn5x5(nn.Module):
    """The three convolutions without pooling: frames [B, T, C, H, W] -> `map` [B, T, 256, H - 12, W - 12] after ReLU.

    Raises:
        PluginError: the clip's shape is unknown or below 13 pixels.
    """

    def __init__(self, params: Srcnn5x5Params, context: BuildContext) -> None:
        super().__init__()
        self.mean, self.std = params.mean, params.std
        clip = _clip(context, "vlqr/srcnn5x5", smallest=13)
        self.conv1, self.conv2, self.conv3 = _convolutions(clip.channels, _channels(params.width))
        for layer in (self.conv1, self.conv2, self.conv3):
            initialise_(layer, params.init)

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """`map` [B, T, C, h, w]."""
        x = (frames_BTCHW.flatten(0, 1) - self.mean) / self.std
        x = relu(self.conv3(relu(self.conv2(relu(self.conv1(x))))))
        return {"map": x.unflatten(0, frames_BTCHW.shape[:2])}


def pooled_size(pixels: int) -> int:
    """Returns the rows (columns) of the last map of `Cnn5x5` for an input of `pixels` rows."""
    for pool in (2, 2, 4):
        pixels = -(-(pixels - _KERNEL + 1) // pool)
    return pixels


def _centre(x_BCHW: Tensor, size: int | None) -> Tensor:
    """The centre of frames that are larger than `size`."""
    height, width = x_BCHW.shape[-2:]
    if size is None or (height <= size and width <= size):
        return x_BCHW
    top, left = (max(0, n - size) // 2 for n in (height, width))
    return x_BCHW[..., top : top + size, left : left + size]


def _channels(width: float) -> _Channels:
    return _Channels(*(max(1, round(n * width)) for n in (64, 128, 256)))


def _convolutions(inputs: int, channels: _Channels) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]:
    return (
        nn.Conv2d(inputs, channels.conv1, _KERNEL),
        nn.Conv2d(channels.conv1, channels.conv2, _KERNEL),
        nn.Conv2d(channels.conv2, channels.conv3, _KERNEL),
    )


def _clip(context: BuildContext, name: str, smallest: int) -> ClipSpec:
    if context.clip is None:
        raise PluginError("needs the shape of the clips to be built", name, "build it with a context that has `clip`")
    if min(context.clip.height, context.clip.width) < smallest:
        size = f"{context.clip.width}x{context.clip.height}"
        raise PluginError(
            f"clips of {size} pixels are too small for its unpadded convolutions",
            name,
            f"use data of at least {smallest}x{smallest} pixels",
        )
    return context.clip
