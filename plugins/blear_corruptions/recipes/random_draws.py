"""Random numbers of a recipe: one for each clip, or a random walk over its frames. F: 1, or the frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from blear.contracts import DrawKeys

_COLUMNS = 80
"""Largest number of draws of a recipe for one frame."""

Bound = float | np.ndarray
"""One number for all clips, or one for each clip, [B]."""


class RandomNumbers:
    """The random numbers of a batch. Every call uses the next column, so that the order of calls is part of a recipe.

    Args:
        keys: keys of B samples.
        frames: F. Above 1, numbers of `uniform` are a random walk over the frames.
    """

    def __init__(self, keys: DrawKeys, frames: int) -> None:
        self._uniform_BFn = keys.uniform(frames * _COLUMNS).reshape(-1, frames, _COLUMNS)
        self._taken = 0

    def column(self) -> np.ndarray:
        """Returns the next column, float64 in [0, 1), [B, F]."""
        column = self._uniform_BFn[:, :, self._taken]
        self._taken += 1
        return column

    def uniform(self, low: Bound, high: Bound, step: float = 0.0) -> np.ndarray:
        """Returns uniform numbers in the range, [B, F]. A random walk has uniform steps in -step to step."""
        chance = self.column()
        low_B, high_B = (np.broadcast_to(np.asarray(bound, np.float64), len(chance)) for bound in (low, high))
        walked = np.empty_like(chance)
        walked[:, 0] = low_B + chance[:, 0] * (high_B - low_B)
        for frame in range(1, chance.shape[1]):
            walked[:, frame] = np.clip(walked[:, frame - 1] + (2 * chance[:, frame] - 1) * step, low_B, high_B)
        return walked

    def bernoulli(self, probability: Bound) -> np.ndarray:
        """Returns bool [B, F], the same for all frames of a clip."""
        chance = self.column()
        return np.broadcast_to(chance[:, :1] < np.reshape(probability, (-1, 1)), chance.shape)

    def choice(self, weights: Sequence[float]) -> np.ndarray:
        """Returns an index into `weights`, int64 [B, F], the same for all frames of a clip."""
        chance = self.column()
        inner_edges = (np.cumsum(weights) / np.sum(weights))[:-1]
        return np.broadcast_to(np.searchsorted(inner_edges, chance[:, :1], side="right"), chance.shape)

    def key(self) -> Tensor:
        """Returns the key of each clip's noise, int64 [B, 1]."""
        return torch.from_numpy((self.column()[:, :1] * 2**53).astype(np.int64))


def as_float(values: np.ndarray) -> Tensor:
    """Returns a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def as_int(values: np.ndarray) -> Tensor:
    """Returns an int64 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values).astype(np.int64))
