"""Layers of the side outputs: a one-channel map of a stage, its short connections and classifier, and the fusion."""

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
    """One side output: kernel size and channels of conv A, and the deeper stages joined into conv C, in input order."""

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
"""Stage -> side output (spec section 3.1). The map of a stage has 1 / 2^(stage - 1) of the input's size."""


class SideOutput(nn.Module):
    """Features [N, C, h, w] and the deeper maps -> a one-channel map [N, 1, h, w] and logits [N, K].

    conv_a (same padding), ReLU, conv_b to one channel. If deeper maps are joined, the 1x1 convolution `mix` (conv C)
    combines them with the own map. The classifier is a linear layer on the flattened map.

    Args:
        spec: entry of `SIDES`, with channels multiplied by the width, and joins limited to existing stages.
        stage: number of the stage.
        inputs: number of channels of the features.
        size: height and width of the features.
        classes: number of classes K.
        aligned: whether upsampled maps are cropped at the centre; otherwise at the top left.
        init: initialisation of the weights.
        reduce: number of channels to which wider features are reduced first; None: no reduction, as published.
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
        """Returns map and logits. `deeper` holds the maps of the deeper stages: stage -> [N, 1, h, w]."""
        x = features_NCHW if self.reduce is None else self.reduce(features_NCHW).relu_()
        own = self.conv_b(self.conv_a(x).relu_())
        if self.mix is not None:
            height, width = own.shape[-2:]
            joined = [up(deeper[stage], height, width) for stage, up in zip(self.joins, self.upsample, strict=True)]
            own = self.mix(torch.cat([own, *joined], dim=1))
        return own, self.classify(own.flatten(1))


class Fusion(nn.Module):
    """Maps of all stages -> logits [N, K]: upsampled to the input's size, mixed (initial weight 1/n), classified.

    Args:
        stages: numbers of the stages, in the order of the inputs of `mix`.
        height, width: size of the network's input.
        classes: number of classes K.
        aligned: whether upsampled maps are cropped at the centre; otherwise at the top left.
        init: initialisation of the classifier.
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
        """Returns the logits of the fused map [N, K]."""
        enlarged = [up(maps[k], self.height, self.width) for k, up in zip(self.stages, self.upsample, strict=True)]
        return self.classify(self.mix(torch.cat(enlarged, dim=1)).flatten(1))


def initialise_(layer: nn.Conv2d | nn.Linear, init: Init) -> None:
    """Initialises a layer: normal with standard deviation 0.01, or Caffe's xavier (uniform by fan-in); biases 0."""
    if init == "gaussian":
        nn.init.normal_(layer.weight, std=_STD)
    else:
        bound = math.sqrt(3 * layer.weight.shape[0] / layer.weight.numel())
        nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
