"""Functions common to the networks of this plugin: input normalisation, check of the clip, initialisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from blear.contracts import BuildContext, ClipSpec
from blear.errors import PluginError
from blear_adverse.params import Init

_GAUSSIAN_STD = 0.001


class NetworkInput(nn.Module):
    """Frames [B, T, C, H, W] -> (frames - mean) / std as pictures [B * T, C, H, W].

    Raises:
        PluginError: the number of means or standard deviations is neither 1 nor the number of channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: float | Sequence[float], std: float | Sequence[float], clip: ClipSpec, component: str
    ) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("std", std)):
            numbers = [value] if isinstance(value, float | int) else list(value)
            if len(numbers) not in (1, clip.channels):
                what = f"{len(numbers)} values of `{name}` for frames of {clip.channels} channels"
                raise PluginError(what, component, "give one number, or one for each channel")
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Returns pictures [B * T, C, H, W]."""
        return (frames_BTCHW.flatten(0, 1) - self.mean) / self.std


def require_clip(context: BuildContext, component: str) -> ClipSpec:
    """Returns the shape of the clips.

    Raises:
        PluginError: the shape is unknown.
    """
    if context.clip is None:
        do = "build it with a context that has `clip`"
        raise PluginError("needs the shape of the clips to be built", component, do)
    return context.clip


def initialise_(layer: nn.Conv2d | nn.Linear, init: Init) -> None:
    """Initialises a layer in place. With Caffe's fillers (`filler.hpp`) biases are 0."""
    if init == "default":
        return  # PyTorch's own initialisation
    with torch.no_grad():
        if init == "xavier":
            bound = math.sqrt(3.0 / (layer.weight.numel() / layer.weight.shape[0]))
            layer.weight.uniform_(-bound, bound)
        else:
            layer.weight.normal_(0.0, _GAUSSIAN_STD)
        if layer.bias is not None:
            layer.bias.zero_()
