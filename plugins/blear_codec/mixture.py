"""Draws parameter values from weighted choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from blear.contracts import DrawKeys


class ValueMixture:
    """A discrete distribution of values.

    Args:
        given: a single value, a list of values with equal weights, or value -> weight.
    """

    def __init__(self, given: float | Sequence[float] | Mapping[int, float] | Mapping[float, float]) -> None:
        if isinstance(given, Mapping):
            weight_of = {float(value): weight for value, weight in given.items()}
        else:
            weight_of = dict.fromkeys(map(float, given if isinstance(given, Sequence) else [given]), 1.0)
        self.values = [value for value, weight in weight_of.items() if weight > 0]
        weights = np.array([weight_of[value] for value in self.values], dtype=np.float64)
        self._inner_edges = (np.cumsum(weights) / weights.sum())[
            :-1
        ]  # without the last edge, which rounding could move below 1

    def draw(self, uniform_B: np.ndarray) -> Tensor:
        """Returns a value for each uniform number: float64 [B] in [0, 1) -> float32 [B]."""
        index_B = np.searchsorted(self._inner_edges, uniform_B, side="right")
        return torch.from_numpy(np.array(self.values, dtype=np.float32)[index_B])


def frame_uniforms(key: int, length: int) -> np.ndarray:
    """Returns two independent uniform numbers in [0, 1) per frame, float64 [length, 2], a pure function of `key`."""
    return DrawKeys(key, 0, np.zeros(length, np.int64), np.arange(length)).uniform(2)
