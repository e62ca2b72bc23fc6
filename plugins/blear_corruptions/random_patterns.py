"""Random patterns of the operations: pure functions of a key, the same on every device.

Two fixed tables hold a million independent numbers each. A key chooses one start in each table, and the pattern is the
sum of the two rows from there. Normal sums are divided by the root of 2 and stay normal; uniform sums lose their whole
part and stay uniform. All numbers of one pattern are independent. Two keys share both starts once in 10^12 pairs, and
one start once in half a million pairs; a shared start correlates two patterns by one half. More often the two rows of a
table overlap with a shift, which correlates one pattern with the shifted other by one half of the overlap, and the same
pixel of both not at all: in 1 % of pairs of 48 x 48 numbers, 10 % of 3 x 96 x 96 and 46 % of 3 x 224 x 224. Reading
tables is ten times faster than a hash for each number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN, _FIRST, _SECOND = (n - 2**64 for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))  # as int64
_PLACES = 2**20
_CHUNK = 2**18
_BELOW_ONE = 1 - 2**-24
_HELD: dict[tuple[int, bool, str], tuple[Tensor, Tensor]] = {}


def normal_pattern(keys_M: Tensor, shape: tuple[int, ...], stream: int = 0) -> Tensor:
    """Returns standard normal float32 [M, *shape]; patterns of different streams are independent."""
    first, second = _rows(keys_M, math.prod(shape), stream, uniform=False)
    return (first + second).mul_(math.sqrt(0.5)).unflatten(1, shape)


def uniform_pattern(keys_M: Tensor, shape: tuple[int, ...], stream: int = 0) -> Tensor:
    """Returns uniform float32 in [0, 1), [M, *shape]; patterns of different streams are independent."""
    first, second = _rows(keys_M, math.prod(shape), stream, uniform=True)
    return (first + second).frac_().clamp_(max=_BELOW_ONE).unflatten(1, shape)


def _rows(keys_M: Tensor, count: int, stream: int, uniform: bool) -> tuple[Tensor, Tensor]:
    """Returns one row of each table for each key, [M, count]."""
    longest = 1 << max(count - 1, 2**16).bit_length()
    tables = _tables(longest, uniform, keys_M.device)
    number = torch.arange(2, device=keys_M.device) + 2 * stream
    chance = torch.special.ndtr(normal(keys_M, number[None]).double())  # [M, 2]
    first, second = (chance * _PLACES).long().clamp(max=_PLACES - 1).unbind(dim=1)
    return tables[0].unfold(0, count, 1)[first], tables[1].unfold(0, count, 1)[second]


def _tables(longest: int, uniform: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns both tables, computed once for each device.

    A table has a million starts, and after the last start as many numbers as the longest pattern needs.
    """
    key = (longest, uniform, str(device))
    if key in _HELD:
        return _HELD[key]
    keys = torch.tensor([3, 4] if uniform else [1, 2])
    parts = [normal(keys, places) for places in torch.arange(_PLACES + longest)[None].split(_CHUNK, dim=1)]
    made = torch.cat(parts, dim=1)
    if uniform:
        made = torch.special.ndtr(made.double()).float().clamp(max=_BELOW_ONE)
    first, second = made.to(device)
    if not torch.compiler.is_compiling():
        _HELD[key] = first, second
    return first, second


def normal(keys_B: Tensor, counters: Tensor) -> Tensor:
    """Returns standard normal float32, one number for each counter: a pure function of key and counter.

    SplitMix64 (Steele, Lea, Flood 2014) gives 64 bits. Its two halves are the two uniform numbers of Box and Muller
    (1958).

    Args:
        keys_B: int64.
        counters: int64 [B or 1, ...].
    """
    state = _mix(keys_B.view(-1, *[1] * (counters.ndim - 1)))
    bits = _mix(state ^ (counters * _GOLDEN))
    radius = torch.sqrt(-2 * torch.log((_right(bits, 32).double() + 0.5) / 2**32))
    angle = (bits & 0xFFFFFFFF).double() * (2 * math.pi / 2**32)
    return (radius * torch.cos(angle)).float()


def _mix(z: Tensor) -> Tensor:
    z = z + _GOLDEN  # int64 addition wraps, as SplitMix64 requires
    z = (z ^ _right(z, 30)) * _FIRST
    z = (z ^ _right(z, 27)) * _SECOND
    return z ^ _right(z, 31)


def _right(z: Tensor, bits: int) -> Tensor:
    """Returns `z` shifted to the right, with zeros instead of the sign bit."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
