"""The indexes of the shards of a split: keys, lengths and metadata of its samples, without reading a shard."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blear.contracts import ClipSpec
from blear.data.dataset_info import ShardInfo
from blear.data.prepared import Prepared
from blear.data.shard.index import ShardIndex

_MAX_LOADED = 32


@dataclass(frozen=True)
class SampleMetadata:
    """Metadata of some samples as the dataset gave it; each list has one entry for each sample."""

    keys: list[str]
    subjects: list[str]
    videos: list[str]
    times: list[float | None]
    meta: list[dict[str, Any]]


class SplitIndex:
    """Random access to the indexes of a split's shards; the most recently used ones stay loaded.

    Samples are numbered through the shards in order, from 0, broken samples included.

    Attributes:
        counts: int64 [shards], number of samples of each shard.
        of_shard: shard number -> its index. Raises a `DataError` if the index cannot be read.
    """

    def __init__(self, prepared: Prepared, shards: Sequence[ShardInfo], clip: ClipSpec) -> None:
        self._clip = clip
        self.counts = np.array([shard.samples for shard in shards], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.counts)])
        # partial functions, not methods: a cache of bound methods would keep the split alive in a reference cycle
        self.of_shard = functools.lru_cache(_MAX_LOADED)(functools.partial(_load_index, prepared, shards))
        self._columns = functools.lru_cache(_MAX_LOADED)(functools.partial(_load_columns, self.of_shard))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def by_shard(self, samples_B: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Groups samples by shard: (shard, sample numbers in the shard, positions in `samples_B`), in shard order.

        Raises:
            IndexError: the split has no such sample.
        """
        samples_B = np.asarray(samples_B, dtype=np.int64)
        if not len(samples_B):
            return
        if samples_B.min() < 0 or samples_B.max() >= len(self):
            raise IndexError(f"samples {samples_B.min()} to {samples_B.max()} of {len(self)}")
        order = np.argsort(samples_B, kind="stable")
        sorted_B = samples_B[order]
        shards_B = np.searchsorted(self._starts, sorted_B, side="right") - 1
        edges = (np.flatnonzero(shards_B[1:] != shards_B[:-1]) + 1).tolist()
        for first, last in itertools.pairwise([0, *edges, len(order)]):
            shard = int(shards_B[first])
            yield shard, sorted_B[first:last] - self._starts[shard], order[first:last]

    def lengths(self, samples_B: np.ndarray) -> np.ndarray:
        """Number of frames of each clip, int64 [B]."""
        lengths_B = np.full(len(samples_B), self._clip.length, dtype=np.int64)
        if self._clip.shortest is not None:
            for shard, rows, positions in self.by_shard(samples_B):
                lengths_B[positions] = self.of_shard(shard).frames_N2[rows, 0].clip(1, self._clip.length)
        return lengths_B

    def keys(self, samples_B: np.ndarray) -> list[str]:
        """Key of each sample."""
        keys = [""] * len(samples_B)
        for shard, rows, positions in self.by_shard(samples_B):
            shard_keys = self.of_shard(shard).keys
            for row, position in zip(rows.tolist(), positions.tolist(), strict=True):
                keys[position] = shard_keys[row]
        return keys

    def metadata(self, samples_B: np.ndarray) -> SampleMetadata:
        """Metadata of each sample."""
        records: list[dict[str, Any]] = [{}] * len(samples_B)
        for shard, rows, positions in self.by_shard(samples_B):
            columns = self._columns(shard)
            for row, position in zip(rows.tolist(), positions.tolist(), strict=True):
                records[position] = {name: values[row] for name, values in columns.items()}
        names = ("subject", "video", "time", "meta")
        return SampleMetadata(self.keys(samples_B), *([record[name] for record in records] for name in names))


def _load_index(prepared: Prepared, shards: Sequence[ShardInfo], shard: int) -> ShardIndex:
    return prepared.index(shards[shard])


def _load_columns(index: Callable[[int], ShardIndex], shard: int) -> dict[str, list[Any]]:
    return index(shard).columns()
