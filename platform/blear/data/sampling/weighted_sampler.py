"""Training samples drawn with replacement from groups at stated shares: a pure function of (seed, position)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blear.data.sampling.sampler import share_of
from blear.random_keys import uniform

_OPERATION = int.from_bytes(b"draw")  # far from the numbers of a chain's operations, which count from 0
_GROUP, _CELL, _MEMBER = range(3)


@dataclass(frozen=True, eq=False)
class Group:
    """Samples that are drawn together.

    Attributes:
        share: how often, relative to the shares of all groups.
        cells: the group's samples, each an int64 array that is not empty; a cell is drawn first, all alike, then one of
            its samples.
    """

    share: float
    cells: Sequence[np.ndarray]


@dataclass(frozen=True, eq=False)
class DrawOrder:
    """The endless stream of draws; global batch k is positions [k * B, (k + 1) * B) of it.

    A draw depends on nothing but the seed and its position, so any number of workers sees the same draws, and a run
    resumes anywhere at once. The `epochs` of a batch are the positions: a sample that comes twice is degraded anew.

    Args:
        groups: at least one.
        batch_size: draws of a global batch.
        seed: any int64.
    """

    groups: Sequence[Group]
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if not self.groups or self.batch_size < 1:
            raise ValueError(f"{len(self.groups)} groups and batch_size {self.batch_size} must be at least 1")
        if not all(group.share > 0 and group.cells and all(map(len, group.cells)) for group in self.groups):
            raise ValueError("every group needs a share above 0 and samples in each of its cells")

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(epochs_B, samples_B), int64, of global batch `step`."""
        if step < 0:
            raise ValueError(f"step {step} is negative")
        positions_B = np.arange(step * self.batch_size, (step + 1) * self.batch_size, dtype=np.int64)
        drawn_B3 = uniform(self.seed, _OPERATION, positions_B, np.zeros_like(positions_B), 3)
        groups_B = np.searchsorted(self._edges, drawn_B3[:, _GROUP], side="right")
        samples_B = np.empty_like(positions_B)
        for number in np.unique(groups_B).tolist():
            here_B = groups_B == number
            members, starts = self._flat[number]
            cells = _below(len(starts) - 1, drawn_B3[here_B, _CELL])
            samples_B[here_B] = members[starts[cells] + _below(np.diff(starts)[cells], drawn_B3[here_B, _MEMBER])]
        return positions_B, samples_B

    def part(self, step: int, rank: int, world: int) -> tuple[np.ndarray, np.ndarray]:
        """The share of worker `rank` of `world` in global batch `step`: every `world`-th draw from `rank` on."""
        return share_of(self.batch(step), rank, world)

    @functools.cached_property
    def _edges(self) -> np.ndarray:
        """Where in [0, 1) one group ends and the next begins, [G - 1]."""
        shares = np.array([group.share for group in self.groups], dtype=np.float64)
        return np.cumsum(shares / shares.sum())[:-1]

    @functools.cached_property
    def _flat(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each group, the samples of all its cells, and where each cell starts and the last ends."""
        return [
            (np.concatenate(group.cells), np.concatenate([[0], np.cumsum([len(cell) for cell in group.cells])]))
            for group in self.groups
        ]


def _below(counts: np.ndarray | int, uniform_N: np.ndarray) -> np.ndarray:
    """Whole numbers below `counts`, each as likely as the others, of numbers in [0, 1)."""
    return np.minimum((uniform_N * counts).astype(np.int64), np.asarray(counts) - 1)  # rounding may reach the count
