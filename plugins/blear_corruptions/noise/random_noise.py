"""Gaussian noise with probability p for each clip.

The noise is counter-based: the normal number of value k of a clip is a pure function of the clip's key and of k. The
noise of a clip therefore does not depend on the other samples of its batch, on the worker or on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws
from blear_corruptions.noise.params import RandomNoiseParams
from blear_corruptions.random_patterns import normal


class RandomNoise:
    """Adds zero-mean Gaussian noise and limits values to [0, 1]. Clips that are not drawn are unchanged."""

    def __init__(self, params: RandomNoiseParams, context: BuildContext) -> None:
        self._params = params

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns `std`, float32 [B], 0 without noise; `grey`, bool [B]; `key`, int64 [B], the key of the noise."""
        chosen, std, grey, key = torch.from_numpy(keys.uniform(4)).T
        return {
            "std": torch.where(chosen < self._params.p, std * self._params.std, 0).float(),
            "grey": grey < self._params.grey,
            "key": (key * 2**53).long(),
        }

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape."""
        std_B1111 = draws["std"][:, None, None, None, None]
        noise = normal(draws["key"], self._places(frames_BTCHW, draws["grey"]))
        noisy = (frames_BTCHW + std_B1111 * noise).clamp(0, 1).to(frames_BTCHW.dtype)
        return torch.where(std_B1111 > 0, noisy, frames_BTCHW)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns no levels: an augmentation has no severity to sweep."""
        return ()

    def _places(self, frames_BTCHW: Tensor, grey_B: Tensor) -> Tensor:
        """Returns the counter of each value, int64 [B, T or 1, C, H, W]; equal counters give equal noise."""
        _, length, channels, height, width = frames_BTCHW.shape
        count = torch.arange(channels * height * width, device=frames_BTCHW.device).view(1, 1, channels, height, width)
        places = torch.where(grey_B[:, None, None, None, None], count % (height * width), count)
        if not self._params.per_frame:
            return places
        frame = torch.arange(length, device=frames_BTCHW.device).view(1, length, 1, 1, 1)
        return places + frame * (channels * height * width)
