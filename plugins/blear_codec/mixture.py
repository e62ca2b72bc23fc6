"""A number for each clip, drawn from a mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from blear.contracts import DrawKeys


class ValueMixture:
    """Values with weights.

    Args:
        given: one value, values of equal weight, or value -> weight.
    """

    def __init__(self, given: float | Sequence[float] | Mapping[int, float] | Mapping[float, float]) -> None:
        if isinstance(given, Mapping):
            weight_of = {float(value): weight for value, weight in given.items()}
        else:
            weight_of = dict.fromkeys(map(float, given if isinstance(given, Sequence) else [given]), 1.0)
        self.values = [value for value, weight in weight_of.items() if weight > 0]
        weights = np.array([weight_of[value] for value in self.values], dtype=np.float64)
        self._inner_edges = (np.cumsum(weights) / weights.sum())[:-1]  # the last edge is 1 whatever rounding says

    def draw(self, uniform_B: np.ndarray) -> Tensor:
        """Float32 [B], from float64 in [0, 1)."""
        index_B = np.searchsorted(self._inner_edges, uniform_B, side="right")
        return torch.from_numpy(np.array(self.values, dtype=np.float32)[index_B])


def frame_uniforms(key: int, length: int) -> np.ndarray:
    """Float64 in [0, 1), [length, 2]: two independent numbers for each frame, a pure function of the clip's key."""
    return DrawKeys(key, 0, np.zeros(length, np.int64), np.arange(length)).uniform(2)
