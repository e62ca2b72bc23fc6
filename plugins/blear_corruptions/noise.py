"""Augmentations of pixel values: Gaussian noise and a brightness offset, with probability p for each clip.

The noise itself is counter-based too: pixel k of a clip gets a normal number that is a pure function of the clip's key
and k, so that a batch's noise does not depend on its other samples, on the worker or on the device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws
from blear_corruptions.photometric_params import RandomBrightnessParams, RandomNoiseParams

_GOLDEN, _FIRST, _SECOND = (n - 2**64 for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))  # as int64


class RandomNoise:
    """Adds zero-mean Gaussian noise and clips to [0, 1]; what is not drawn stays as it is."""

    def __init__(self, params: RandomNoiseParams, context: BuildContext) -> None:
        self._params = params

    def draw(self, keys: DrawKeys) -> Draws:
        """`std`: float32 [B], 0 without noise; `grey`: bool [B]; `key`: int64 [B], what the pixels' numbers hang on."""
        chosen, std, grey, key = torch.from_numpy(keys.uniform(4)).T
        return {
            "std": torch.where(chosen < self._params.p, std * self._params.std, 0).float(),
            "grey": grey < self._params.grey,
            "key": (key * 2**53).long(),
        }

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Frames of the same shape."""
        std_B1111 = draws["std"][:, None, None, None, None]
        noise = normal(draws["key"], self._places(frames_BTCHW, draws["grey"]))
        noisy = (frames_BTCHW + std_B1111 * noise).clamp(0, 1).to(frames_BTCHW.dtype)
        return torch.where(std_B1111 > 0, noisy, frames_BTCHW)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """None: an augmentation has no severity to sweep."""
        return ()

    def _places(self, frames_BTCHW: Tensor, grey_B: Tensor) -> Tensor:
        """Number of each value in its clip, int64 [B, T or 1, C, H, W]; values with one number get the same noise."""
        _, length, channels, height, width = frames_BTCHW.shape
        count = torch.arange(channels * height * width, device=frames_BTCHW.device).view(1, 1, channels, height, width)
        places = torch.where(grey_B[:, None, None, None, None], count % (height * width), count)
        if not self._params.per_frame:
            return places
        frame = torch.arange(length, device=frames_BTCHW.device).view(1, length, 1, 1, 1)
        return places + frame * (channels * height * width)


class RandomBrightness:
    """Adds one number to all values of a clip and clips to [0, 1]; what is not drawn stays as it is."""

    def __init__(self, params: RandomBrightnessParams, context: BuildContext) -> None:
        self._params = params

    def draw(self, keys: DrawKeys) -> Draws:
        """`offset`: float32 [B], 0 for a clip that stays as it is."""
        chosen, offset = torch.from_numpy(keys.uniform(2)).T
        drawn = (2 * offset - 1) * self._params.offset
        return {"offset": torch.where(chosen < self._params.p, drawn, 0).float()}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Frames of the same shape."""
        offset_B1111 = draws["offset"][:, None, None, None, None]
        brighter = (frames_BTCHW + offset_B1111).clamp(0, 1).to(frames_BTCHW.dtype)
        return torch.where(offset_B1111 != 0, brighter, frames_BTCHW)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """None: an augmentation has no severity to sweep."""
        return ()


def normal(keys_B: Tensor, counters: Tensor) -> Tensor:
    """Standard normal float32 of the shape of `counters` [B or 1, ...]: a pure function of key and counter.

    SplitMix64 (Steele, Lea, Flood 2014), whose two halves are the uniform numbers of Box and Muller (1958).
    """
    state = _mix(keys_B.view(-1, *[1] * (counters.ndim - 1)))
    bits = _mix(state ^ (counters * _GOLDEN))
    radius = torch.sqrt(-2 * torch.log((_right(bits, 32).double() + 0.5) / 2**32))
    angle = (bits & 0xFFFFFFFF).double() * (2 * math.pi / 2**32)
    return (radius * torch.cos(angle)).float()


def _mix(z: Tensor) -> Tensor:
    z = z + _GOLDEN  # int64 wraps, as the algorithm asks
    z = (z ^ _right(z, 30)) * _FIRST
    z = (z ^ _right(z, 27)) * _SECOND
    return z ^ _right(z, 31)


def _right(z: Tensor, bits: int) -> Tensor:
    """Shifts to the right without the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
