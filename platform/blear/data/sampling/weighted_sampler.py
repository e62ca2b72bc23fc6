"""The weighted sampler: draws training samples with replacement from groups with stated weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blear.data.sampling.sampler import worker_share
from blear.random_keys import uniform

_OPERATION = int.from_bytes(b"draw")  # far from the operation numbers of degradations, which count from 0
_GROUP, _STRATUM, _MEMBER = range(3)


@dataclass(frozen=True, eq=False)
class SamplingGroup:
    """A group of samples, perhaps stratified.

    Attributes:
        weight: probability of the group, relative to the weights of all groups.
        strata: sample numbers of each stratum, a non-empty int64 array. A draw picks a stratum, all with the same
            probability, then one of its samples.
    """

    weight: float
    strata: Sequence[np.ndarray]


@dataclass(frozen=True, eq=False)
class WeightedSampler:
    """Samples with replacement: an endless sequence of draws.

    Global batch k holds positions [k * B, (k + 1) * B) of the sequence, for batch size B. A draw depends on the seed
    and its position alone: it is the same for any number of workers, and a run resumes at any step without the steps
    before it. `batch` returns the positions as epochs, so that a sample drawn twice is degraded differently each time.

    Args:
        groups: at least one.
        batch_size: number of draws of a global batch.
        seed: any int64.

    Raises:
        ValueError: there is no group, a group has no weight or an empty stratum, or `batch_size` is below 1.
    """

    groups: Sequence[SamplingGroup]
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if not self.groups or self.batch_size < 1:
            raise ValueError(f"{len(self.groups)} groups and batch_size {self.batch_size} must be at least 1")
        if not all(group.weight > 0 and group.strata and all(map(len, group.strata)) for group in self.groups):
            raise ValueError("every group needs a weight above 0 and samples in each of its strata")

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(positions_B, samples_B), int64 [B] each, of global batch `step`."""
        if step < 0:
            raise ValueError(f"step {step} is negative")
        positions_B = np.arange(step * self.batch_size, (step + 1) * self.batch_size, dtype=np.int64)
        uniform_B3 = uniform(self.seed, _OPERATION, positions_B, np.zeros_like(positions_B), 3)
        groups_B = np.searchsorted(self._edges, uniform_B3[:, _GROUP], side="right")
        samples_B = np.empty_like(positions_B)
        for number in np.unique(groups_B).tolist():
            in_group_B = groups_B == number
            members, starts = self._flat[number]
            strata = _integers_below(len(starts) - 1, uniform_B3[in_group_B, _STRATUM])
            offsets = _integers_below(np.diff(starts)[strata], uniform_B3[in_group_B, _MEMBER])
            samples_B[in_group_B] = members[starts[strata] + offsets]
        return positions_B, samples_B

    def worker_batch(self, step: int, rank: int, world: int) -> tuple[np.ndarray, np.ndarray]:
        """Share of worker `rank` of `world` in global batch `step`: every `world`-th draw, beginning at `rank`."""
        return worker_share(self.batch(step), rank, world)

    @functools.cached_property
    def _edges(self) -> np.ndarray:
        """Edges between the groups in [0, 1), float64 [G - 1]."""
        weights = np.array([group.weight for group in self.groups], dtype=np.float64)
        return np.cumsum(weights / weights.sum())[:-1]

    @functools.cached_property
    def _flat(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each group: the samples of all its strata [M], and the edges of the strata in them [strata + 1]."""
        return [
            (np.concatenate(group.strata), np.concatenate([[0], np.cumsum([len(stratum) for stratum in group.strata])]))
            for group in self.groups
        ]


def _integers_below(counts: np.ndarray | int, uniform_N: np.ndarray) -> np.ndarray:
    """Maps numbers in [0, 1) to integers in [0, counts), uniformly."""
    return np.minimum((uniform_N * counts).astype(np.int64), np.asarray(counts) - 1)  # rounding may reach the count
