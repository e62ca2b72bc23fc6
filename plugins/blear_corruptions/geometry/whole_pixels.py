"""Augmentations that move whole pixels: flip, crop, shift. One draw for each clip; a flip may draw for each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from blear.contracts import BuildContext, Degradation, DrawKeys, Draws
from blear.errors import PluginError
from blear_corruptions.geometry.params import RandomCropParams, RandomFlipParams, RandomShiftParams, ResizeParams
from blear_corruptions.geometry.resize import Resize
from blear_corruptions.random_streams import draws_per_clip, uniform_draws


class RandomFlip:
    """Mirrors a clip, or each of its frames alone, left to right with probability `p`."""

    size_independent = True
    moves_content = True

    def __init__(self, params: RandomFlipParams, context: BuildContext) -> None:
        self._p = params.p
        self._draws = draws_per_clip(params.per, context, "corruptions/random_flip")

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns `flip`, bool [B, T or 1]."""
        return {"flip": uniform_draws(keys, self._draws, 1)[..., 0] < self._p}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape."""
        return torch.where(draws["flip"][..., None, None, None], frames_BTCHW.flip(-1), frames_BTCHW)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns no levels: an augmentation has no severity to sweep."""
        return ()


class RandomCrop:
    """Crops a square of `size` pixels at a uniform random position in whole pixels. The frames' size changes.

    Raises:
        PluginError: the frames are smaller than the square. Raised here if the clip's shape is known, otherwise in
            `apply`.
    """

    moves_content = True

    def __init__(self, params: RandomCropParams, context: BuildContext) -> None:
        self._size, self._tested = params.size, params.tested
        if context.clip is not None:
            self._check(context.clip.height, context.clip.width)

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns `place`, float32 [B, 2] in [0, 1]: the position among the possible first rows and first columns."""
        return {"place": torch.from_numpy(keys.uniform(2)).float()}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames [B, T, C, size, size]."""
        height, width = frames_BTCHW.shape[-2:]
        self._check(height, width)
        place_B2 = draws["place"]
        steps = torch.arange(self._size, device=frames_BTCHW.device)
        top_B = _pick(place_B2[:, 0], height - self._size + 1)
        left_B = _pick(place_B2[:, 1], width - self._size + 1)
        return _take(frames_BTCHW, top_B[:, None] + steps, left_B[:, None] + steps)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns no levels: an augmentation has no severity to sweep."""
        return ()

    def for_evaluation(self) -> Degradation:
        """Returns the centre crop, or a resize of the whole frame."""
        if self._tested == "crop":
            return CentreCrop(self._size)
        return Resize(ResizeParams(size=(self._size, self._size)), BuildContext())

    def _check(self, height: int, width: int) -> None:
        if self._size > min(height, width):
            what = f"a crop of {self._size} x {self._size} does not fit into frames of {height} x {width}"
            raise PluginError(what, "corruptions/random_crop", f"set size to at most {min(height, width)}")


class CentreCrop:
    """Crops the central square of `size` pixels. An odd margin is one pixel larger at the top and at the left."""

    def __init__(self, size: int) -> None:
        self._size = size

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns no draws."""
        return {}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames [B, T, C, size, size]."""
        top, left = ((side - self._size + 1) // 2 for side in frames_BTCHW.shape[-2:])
        return frames_BTCHW[..., top : top + self._size, left : left + self._size]

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns no levels: a preparation has no severity to sweep."""
        return ()


class RandomShift:
    """Shifts a clip by -pixels to pixels rows and columns. Uncovered pixels repeat the border."""

    moves_content = True

    def __init__(self, params: RandomShiftParams, context: BuildContext) -> None:
        self._pixels = params.pixels

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns `shift`, int64 [B, 2]: rows down and columns right, in pixels."""
        steps = torch.from_numpy(keys.uniform(2)) * (2 * self._pixels + 1)
        return {"shift": steps.floor().long().clamp(max=2 * self._pixels) - self._pixels}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape."""
        height, width = frames_BTCHW.shape[-2:]
        shift_B2 = draws["shift"]
        rows = torch.arange(height, device=frames_BTCHW.device) - shift_B2[:, :1]
        columns = torch.arange(width, device=frames_BTCHW.device) - shift_B2[:, 1:]
        return _take(frames_BTCHW, rows.clamp(0, height - 1), columns.clamp(0, width - 1))

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns no levels: an augmentation has no severity to sweep."""
        return ()


def _pick(place_B: Tensor, count: int) -> Tensor:
    return (place_B * count).long().clamp(max=count - 1)  # float32 rounding can give a place of 1


def _take(frames_BTCHW: Tensor, rows_BP: Tensor, columns_BQ: Tensor) -> Tensor:
    batch, length, channels, _, width = frames_BTCHW.shape
    rows = rows_BP[:, None, None, :, None].expand(batch, length, channels, rows_BP.shape[1], width)
    columns = columns_BQ[:, None, None, None, :].expand(*rows.shape[:4], columns_BQ.shape[1])
    return frames_BTCHW.gather(3, rows).gather(4, columns)
