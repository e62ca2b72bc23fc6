"""Base classes of the ImageNet-C operations (Hendrycks and Dietterich 2019): draws, severities, tables, frame sizes.

An `Operation` is one corruption at K severities for frames of one size. A `Corruption` wraps it as a degradation.
Shapes in addition to `blear.contracts`: N images (all frames of all clips), M random patterns (one for each clip or
frame), K severities, P numbers of a row of the table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws, not_compiled
from blear.errors import PluginError
from blear_corruptions.imagenet_c.params import SeverityParams
from blear_corruptions.imagenet_c.tables import Rows
from blear_corruptions.random_streams import draws_per_clip

SMALLEST = 6
"""Fewest rows and columns of a frame, in pixels."""


class Operation(ABC):
    """A corruption at K severities for frames of one size.

    Args:
        rows_KP: float64, the row of the table for each severity.
        height, width: of the frames, in pixels.
    """

    channels: tuple[int, ...] = ()
    """Permitted numbers of channels; empty: any number."""
    moves_content: bool = False
    """See `contracts.Moving`."""

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        self.rows_KP, self.height, self.width = rows_KP, height, width
        self._rows = torch.from_numpy(rows_KP).float()

    def strengths(self, index_N: Tensor) -> tuple[Tensor, ...]:
        """Returns the P table numbers of each image's severity, each float32 [N, 1, 1, 1]."""
        return self._rows.to(index_N.device)[index_N][..., None, None, None].unbind(dim=1)

    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Returns the random pattern, float32 [M, ...]: a pure function of key and severity. Default: no numbers."""
        return torch.empty(len(keys_M), 0, device=keys_M.device)

    @abstractmethod
    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns the corrupted images, of the same shape; need not be clipped.

        Args:
            images_NCHW: float32 in [0, 1].
            index_N: int64, index of each image's severity.
            pattern_N: the random pattern of each image's clip or frame, from `pattern`.
        """


class Corruption:
    """Wraps an operation as a degradation: one severity for each clip, one random pattern for each clip or frame.

    Args:
        name: name of the component.
        operation: class of the corruption.
        rows_of: (height, width) of the frames -> the table's rows for severities 1 to 5.

    Frames are clipped to [0, 1] before and after. Intermediate values are not rounded to 8 bits, unlike the original's.
    Statistics of an image (mean, maximum) are those of each frame.

    Raises:
        PluginError: the frames are smaller than 6 pixels or have an unsuitable number of channels. Raised here if the
            clip's shape is known, otherwise in `apply`.
    """

    def __init__(
        self,
        name: str,
        operation: type[Operation],
        rows_of: Callable[[int, int], Rows],
        params: SeverityParams,
        context: BuildContext,
    ) -> None:
        self.moves_content = operation.moves_content
        self._name, self._operation, self._rows_of = f"corruptions/{name}", operation, rows_of
        weights = params.weights()
        self._severities = list(weights)
        shares = np.array(list(weights.values()))
        self._inner_edges = (np.cumsum(shares) / shares.sum())[:-1]
        self._patterns = draws_per_clip(params.per, context, self._name)
        self._sized: dict[tuple[int, int], Operation] = {}
        if context.clip is not None:
            self._check(context.clip.channels)
            self.operation_for(context.clip.height, context.clip.width)

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns `index`, int64 [B], of the severity, and `key`, int64 [B, T or 1], of the random pattern."""
        drawn = keys.uniform(1 + self._patterns)
        index_B = np.searchsorted(self._inner_edges, drawn[:, 0], side="right")
        key = (torch.from_numpy(drawn[:, 1:]) * 2**53).long()
        return {"index": torch.from_numpy(index_B.astype(np.int64)), "key": key}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape, in [0, 1]."""
        batch, length, channels, height, width = frames_BTCHW.shape
        self._check(channels)
        if not batch:  # some operations of PyTorch and kornia refuse an empty batch
            return frames_BTCHW
        if (height, width) not in self._sized:
            self.operation_for(height, width)
        operation = self._sized[height, width]
        index_B, key_BD = draws["index"], draws["key"]
        patterns = key_BD.shape[1]
        pattern = operation.pattern(key_BD.flatten(), index_B.repeat_interleave(patterns), channels)
        if patterns == 1:
            pattern = pattern.repeat_interleave(length, dim=0)
        images = frames_BTCHW.flatten(0, 1).float().clamp(0, 1)
        changed = operation.change(images, index_B.repeat_interleave(length), pattern)
        clipped = (
            changed.clamp(0, 1) if changed.requires_grad else changed.clamp_(0, 1)
        )  # in place: new memory is slower
        return clipped.unflatten(0, (batch, length)).to(frames_BTCHW.dtype)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns the five severities of the benchmark."""
        return [{"severity": severity} for severity in (1, 2, 3, 4, 5)]

    @not_compiled
    def operation_for(self, height: int, width: int) -> Operation:
        """Returns the operation for frames of this size, built once for each size."""
        if min(height, width) < SMALLEST:
            what = f"frames of {height} x {width} pixels are too small"
            raise PluginError(what, self._name, f"use frames of at least {SMALLEST} x {SMALLEST}")
        if (height, width) not in self._sized:
            columns = np.array(self._rows_of(height, width), dtype=np.float64).T
            rows_KP = np.stack([np.interp(self._severities, range(1, 6), column) for column in columns], axis=1)
            self._sized[height, width] = self._operation(rows_KP, height, width)
        return self._sized[height, width]

    def _check(self, channels: int) -> None:
        if self._operation.channels and channels not in self._operation.channels:
            what = f"frames of {channels} channels have no colour to change"
            raise PluginError(what, self._name, "use it on RGB or grey frames")
