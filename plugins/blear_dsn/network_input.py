"""Functions common to all trunks: input layer, output features, initialisation, check of the clip's shape."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from blear.contracts import BuildContext, ClipSpec, Features
from blear.errors import PluginError
from blear_dsn.params import TrunkParams

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class NetworkInput(nn.Module):
    """Frames [B, T, C, H, W] in [0, 1] -> the network's input [B*T, 3, h, w] with h, w <= `size`.

    Larger frames are centre-cropped (256 -> 224 with offset 16). In training a random-crop augmentation comes before.
    A single channel is repeated to three.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, params: TrunkParams) -> None:
        super().__init__()
        self.size, self.bgr = params.size, params.normalise == "caffe"
        mean = tuple(value / 255 for value in params.mean) if self.bgr else _IMAGENET_MEAN
        std = (1 / 255,) * 3 if self.bgr else _IMAGENET_STD
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Returns the network's input [B*T, 3, h, w]."""
        x = centre_crop(frames_BTCHW.flatten(0, 1), self.size)
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        return ((x.flip(1) if self.bgr else x) - self.mean) / self.std


def centre_crop(frames_NCHW: Tensor, size: int) -> Tensor:
    """Crops the centre to at most `size` rows and columns."""
    height, width = frames_NCHW.shape[-2:]
    top, left = max(0, height - size) // 2, max(0, width - size) // 2
    return frames_NCHW[..., top : top + size, left : left + size]


def features(inputs_NCHW: Tensor, stages: dict[str, Tensor], clips: Sequence[int]) -> Features:
    """Returns the features of a trunk: the maps of the stages [B, T, C, h, w], `input` and `embedding`.

    `embedding` [B, T, D] is the spatial mean of the last map. `input` is the network's input [B, T, 3, h, w]; the head
    crops fused maps to its size.

    Args:
        inputs_NCHW: the network's input.
        stages: name -> map [B*T, C, h, w], in the order of the network.
        clips: (B, T).
    """
    last = list(stages.values())[-1]
    named = {"embedding": last.mean(dim=(-2, -1)), "input": inputs_NCHW, **stages}
    return {name: value.unflatten(0, tuple(clips)) for name, value in named.items()}


def channels(counts: Sequence[int], width: float) -> tuple[int, ...]:
    """Multiplies numbers of channels by `width`; each is at least 1."""
    return tuple(max(1, round(count * width)) for count in counts)


def initialise_kaiming_(module: nn.Module) -> None:
    """Initialises the convolutions of a trunk as torchvision does in VGG and ResNet."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def checked_clip(context: BuildContext, name: str, smallest: int) -> ClipSpec:
    """Returns the clip's shape after checks.

    Raises:
        PluginError: the shape is unknown, has neither 1 nor 3 channels, or is below `smallest` pixels.
    """
    clip = context.clip
    if clip is None:
        raise PluginError("needs the shape of the clips to be built", name, "build it with a context that has `clip`")
    if clip.channels not in (1, 3):
        what = f"clips of {clip.channels} channels"
        raise PluginError(what, name, "use grey or RGB frames: 1 or 3 channels")
    if min(clip.height, clip.width) < smallest:
        what = f"clips of {clip.width}x{clip.height} pixels are too small"
        raise PluginError(what, name, f"use data of at least {smallest}x{smallest} pixels")
    return clip
