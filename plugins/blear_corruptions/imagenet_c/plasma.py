"""The diamond-square (plasma) fractal of Fournier, Fussell, Carpenter (1982) as in ImageNet-C's fog, batched."""

from __future__ import annotations

import torch
from torch import Tensor

from blear_corruptions.random_patterns import uniform_pattern


def plasma(uniform_MSS: Tensor, decay_M11: Tensor) -> Tensor:
    """Returns fractal heights in [0, 1], [M, S, S]; S is a power of two.

    Args:
        uniform_MSS: in [0, 1), the random part that a map cell adds to the mean of its four neighbours.
        decay_M11: divisor of the root of the amplitude at each halving of the step.
    """
    size = uniform_MSS.shape[-1]
    chance = 2 * uniform_MSS - 1
    heights = torch.zeros_like(chance)
    step, amplitude = size, torch.full_like(decay_M11, 100.0)
    while step >= 2:
        half = step // 2
        even, odd = slice(0, size, step), slice(half, size, step)
        corners = heights[:, even, even]
        square = corners + corners.roll(-1, 1)
        square = square + square.roll(-1, 2)
        heights[:, odd, odd] = square / 4 + amplitude**2 * chance[:, odd, odd]
        middles, corners = heights[:, odd, odd], heights[:, even, even]
        across = middles + middles.roll(1, 1) + corners + corners.roll(-1, 2)
        down = middles + middles.roll(1, 2) + corners + corners.roll(-1, 1)
        heights[:, even, odd] = across / 4 + amplitude**2 * chance[:, even, odd]
        heights[:, odd, even] = down / 4 + amplitude**2 * chance[:, odd, even]
        step, amplitude = half, amplitude / decay_M11
    least, most = heights.amin(dim=(1, 2), keepdim=True), heights.amax(dim=(1, 2), keepdim=True)
    return (heights - least) / (most - least)


def plasma_pattern(keys_M: Tensor, decay_M11: Tensor, height: int, width: int, stream: int = 0) -> Tensor:
    """Returns a fractal of the next power of two, cropped to its upper left height x width pixels, [M, 1, H, W]."""
    size = 1 << (max(height, width) - 1).bit_length()
    return plasma(uniform_pattern(keys_M, (size, size), stream), decay_M11)[:, None, :height, :width]
