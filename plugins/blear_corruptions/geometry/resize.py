"""Resizes of whole frames, or of a box with random borders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from blear.contracts import BuildContext, DrawKeys, Draws
from blear_corruptions.geometry.params import RandomBoxParams, ResizeParams
from blear_corruptions.random_streams import draws_per_clip, uniform_draws


class Resize:
    """Resizes frames, bilinear and antialiased (torch's `interpolate`, as torchvision's Resize). Nothing is drawn."""

    def __init__(self, params: ResizeParams, context: BuildContext) -> None:
        self._size = params.size

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns no draws."""
        return {}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames [B, T, C, rows, columns]."""
        height, width = frames_BTCHW.shape[-2:]
        if isinstance(self._size, int):
            shorter = min(height, width)
            size = (self._size * height // shorter, self._size * width // shorter)
        else:
            size = self._size
        resized = interpolate(frames_BTCHW.flatten(0, 1), size, mode="bilinear", antialias=True, align_corners=False)
        return resized.unflatten(0, frames_BTCHW.shape[:2])

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns no levels: a preparation has no severity to sweep."""
        return ()

    def for_evaluation(self) -> Resize:
        """Returns this operation: it draws nothing."""
        return self


class RandomBox:
    """Crops a box and resizes it (FER-VGG-GRU, section 4.2).

    Each of the four borders is moved by a uniform random number of whole pixels. Pixels outside the frame are black.
    The resize is bilinear and antialiased, equal to torch's `interpolate` of the padded crop.
    """

    moves_content = True

    def __init__(self, params: RandomBoxParams, context: BuildContext) -> None:
        self._params = params
        self._draws = draws_per_clip(params.per, context, "corruptions/random_box")

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns `borders`, float32 [B, T or 1, 4] in [0, 1]: top, bottom, left, right; 0 is furthest up or left."""
        return {"borders": uniform_draws(keys, self._draws, 4).float()}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames [B, T, C, rows, columns]."""
        height, width = frames_BTCHW.shape[-2:]
        rows, columns = self._params.size or (height, width)
        borders_BT4 = draws["borders"]
        down = self._weights(borders_BT4[..., 0:2], height, rows).to(frames_BTCHW.dtype)
        across = self._weights(borders_BT4[..., 2:4], width, columns).to(frames_BTCHW.dtype)
        return down[:, :, None] @ frames_BTCHW @ across[:, :, None].mT

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns no levels: an augmentation has no severity to sweep."""
        return ()

    def for_evaluation(self) -> RandomBox:
        """Returns the version with unmoved borders, which resizes the whole frame."""
        return RandomBox(self._params.model_copy(update={"move": 0.0, "per": "clip"}), BuildContext())

    def _weights(self, places_BT2: Tensor, side: int, size: int) -> Tensor:
        """Returns the weight of each source pixel in each target pixel along one axis, [B, T, size, side]."""
        most = int(self._params.move * side)
        # float32 rounding can give a place of 1
        moves_BT2 = (places_BT2 * (2 * most + 1)).floor().clamp(max=2 * most) - most
        start, end = moves_BT2[..., 0, None, None], side + moves_BT2[..., 1, None, None]
        scale = (end - start) / size
        # the padded source contains every possible box; the padding is black, so its weights are dropped
        source = torch.arange(-most, side + most, device=moves_BT2.device) + 0.5
        target = torch.arange(size, device=moves_BT2.device)[:, None] + 0.5
        hat = (1 - (source - start - target * scale).abs() / scale.clamp(min=1)).clamp(min=0)
        hat = hat * ((source > start) & (source < end))  # pixels outside the crop have no weight
        return (hat / hat.sum(dim=-1, keepdim=True))[..., most : most + side]
