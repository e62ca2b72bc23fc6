"""Brightness offset with probability p for each clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from kornia.enhance import adjust_brightness
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws
from blear_corruptions.colour.params import RandomBrightnessParams


class RandomBrightness:
    """Adds one number to all values of a clip and limits values to [0, 1]. Clips that are not drawn are unchanged."""

    size_independent = True

    def __init__(self, params: RandomBrightnessParams, context: BuildContext) -> None:
        self._params = params

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns `offset`, float32 [B], 0 for an unchanged clip."""
        chosen, offset = torch.from_numpy(keys.uniform(2)).T
        drawn = (2 * offset - 1) * self._params.offset
        return {"offset": torch.where(chosen < self._params.p, drawn, 0).float()}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape."""
        brighter = adjust_brightness(frames_BTCHW, draws["offset"]).to(frames_BTCHW.dtype)
        return torch.where(draws["offset"][:, None, None, None, None] != 0, brighter, frames_BTCHW)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns no levels: an augmentation has no severity to sweep."""
        return ()
