"""Random patterns of the ImageNet-C operations: pure functions of a key and of the place in the pattern."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from blear_corruptions.noise import normal

_BELOW_ONE = 1 - 2**-24


def normal_pattern(keys_M: Tensor, shape: tuple[int, ...], stream: int = 0) -> Tensor:
    """Standard normal float32 [M, *shape]; patterns of different streams are independent."""
    count = math.prod(shape)
    places = torch.arange(count, device=keys_M.device) + stream * 2**32
    return normal(keys_M, places[None]).unflatten(1, shape)


def uniform_pattern(keys_M: Tensor, shape: tuple[int, ...], stream: int = 0) -> Tensor:
    """Uniform float32 in [0, 1), [M, *shape]: the normal numbers of the same stream through their distribution."""
    return torch.special.ndtr(normal_pattern(keys_M, shape, stream).double()).float().clamp(max=_BELOW_ONE)
