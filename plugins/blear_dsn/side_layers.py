"""One side output: from a stage's features to a one-channel map, its classifier, and the joins of deeper maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from blear_dsn.upsample import Upsample

Init = Literal["gaussian", "xavier"]
_STD = 0.01


class SideSpec(NamedTuple):
    """Kernel and channels of conv A, and the deeper stages whose maps are joined, in the order of conv C's inputs."""

    kernel: int
    channels: int
    joins: tuple[int, ...]


SIDES: Mapping[int, SideSpec] = {
    1: SideSpec(3, 64, (5, 4, 6, 3)),
    2: SideSpec(3, 64, (5, 4, 6, 3)),
    3: SideSpec(5, 128, (6, 5)),
    4: SideSpec(5, 128, (6, 5)),
    5: SideSpec(5, 256, ()),
    6: SideSpec(7, 256, ()),
}
"""Spec section 3.1; a stage's map is 1 / 2^(stage - 1) of the input's size."""


class SideOutput(nn.Module):
    """Features [N, C, h, w] and the deeper maps -> a one-channel map [N, 1, h, w] and logits [N, K].

    conv_a (same padding) and ReLU, conv_b to one channel; where maps are joined, `mix` (conv C) makes one of all. The
    classifier is linear on the flattened map.

    Args:
        spec: from `SIDES`, with channels already multiplied by the width, and joins that are there.
        stage: its number.
        inputs: the features' channels.
        size: their rows and columns.
        classes: K.
        aligned: how enlarged maps are cropped.
        init: how the weights start.
        reduce: channels that wider features are reduced to first; None: as published.
    """

    def __init__(
        self,
        spec: SideSpec,
        stage: int,
        inputs: int,
        size: Sequence[int],
        classes: int,
        *,
        aligned: bool,
        init: Init,
        reduce: int | None,
    ) -> None:
        super().__init__()
        self.joins = spec.joins
        self.reduce = None
        if reduce is not None and inputs > reduce:
            self.reduce, inputs = nn.Conv2d(inputs, reduce, 1), reduce
        self.conv_a = nn.Conv2d(inputs, spec.channels, spec.kernel, padding=spec.kernel // 2)
        self.conv_b = nn.Conv2d(spec.channels, 1, 1)
        self.upsample = nn.ModuleList(Upsample(2 ** (deeper - stage), aligned=aligned) for deeper in spec.joins)
        self.mix = nn.Conv2d(1 + len(spec.joins), 1, 1) if spec.joins else None
        self.classify = nn.Linear(size[0] * size[1], classes)
        for layer in (self.reduce, self.conv_a, self.conv_b, self.mix, self.classify):
            if layer is not None:
                initialise_(layer, init)

    def forward(self, features_NCHW: Tensor, deeper: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        """The map and the logits; `deeper` holds the maps of the stages that are done."""
        x = features_NCHW if self.reduce is None else self.reduce(features_NCHW).relu_()
        own = self.conv_b(self.conv_a(x).relu_())
        if self.mix is not None:
            height, width = own.shape[-2:]
            joined = [up(deeper[stage], height, width) for stage, up in zip(self.joins, self.upsample, strict=True)]
            own = self.mix(torch.cat([own, *joined], dim=1))
        return own, self.classify(own.flatten(1))


class Fusion(nn.Module):
    """The maps of all stages -> logits [N, K]: enlarged to the input's size, mixed with 1/n each, classified.

    Args:
        stages: the stages' numbers, ascending: the order of `mix`'s inputs.
        height, width: the input's.
        init: how the classifier's weights start.
    """

    def __init__(self, stages: list[int], height: int, width: int, classes: int, *, aligned: bool, init: Init) -> None:
        super().__init__()
        self.stages, self.height, self.width = stages, height, width
        self.upsample = nn.ModuleList(Upsample(2 ** (stage - 1), aligned=aligned) for stage in stages)
        self.mix = nn.Conv2d(len(stages), 1, 1)
        self.classify = nn.Linear(height * width, classes)
        initialise_(self.classify, init)
        initialise_(self.mix, init)
        nn.init.constant_(self.mix.weight, 1 / len(stages))

    def forward(self, maps: Mapping[int, Tensor]) -> Tensor:
        """Logits of the fused map."""
        enlarged = [up(maps[k], self.height, self.width) for k, up in zip(self.stages, self.upsample, strict=True)]
        return self.classify(self.mix(torch.cat(enlarged, dim=1)).flatten(1))


def initialise_(layer: nn.Conv2d | nn.Linear, init: Init) -> None:
    """First weights: normal with deviation 0.01, or Caffe's xavier: uniform by fan-in; biases 0."""
    if init == "gaussian":
        nn.init.normal_(layer.weight, std=_STD)
    else:
        bound = math.sqrt(3 * layer.weight.shape[0] / layer.weight.numel())
        nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
