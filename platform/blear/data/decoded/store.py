"""Random access to the samples of one split, through a cache of decoded shards."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from blear.contracts import Target
from blear.data.broken_samples import BrokenSamples
from blear.data.dataset_info import ShardInfo
from blear.data.decoded.copy_samples import CopyJob, channels_first, copy_samples
from blear.data.decoded.open_shards import OpenShard, OpenShards
from blear.data.decoded.sample_decoder import DecodeJob, decode_samples, max_jobs
from blear.data.decoded.shard_decoder import ShardDecoder
from blear.data.decoded.split_index import SampleMetadata, SplitIndex
from blear.data.decoded.worker_pool import decode_pool
from blear.data.frame_sampling import FrameSelector
from blear.data.mirror import cache_root
from blear.data.prepared import Prepared
from blear.data.sample_source import DecodedSamples
from blear.data.shard.encoded_shard import EncodedShard
from blear.data.shard.labels import label_slices
from blear.storage.activity import activity

_LARGE_BATCH_BYTES = 1 << 23

_ShardRows = tuple[int, np.ndarray, np.ndarray]
"""(shard, sample numbers in the shard [R], positions in the batch [R])."""


class Store:
    """The samples of a split, numbered through its shards in order, broken samples included. Thread-safe.

    Opening a store reads no shard. When a sample of a shard is first read, the shard is decoded into the cache, by one
    process of the machine. If the cache has no space, single samples are decoded each time they are read. The shards of
    a store are not evicted before the store is closed or deleted.

    Attributes:
        layout: array shapes and types of the samples.
        counts: int64 [shards], number of samples of each shard.
    """

    def __init__(self, prepared: Prepared, split: str, cache: Path, budget: int | None, max_broken: int) -> None:
        self.prepared, self.split = prepared, split
        self.shards: Sequence[ShardInfo] = prepared.split(split).shards
        self._index = SplitIndex(prepared, self.shards, prepared.clip)
        self._pool = decode_pool()
        self._broken = BrokenSamples(max_broken, f"{prepared.name}, split {split}", f"{prepared.place}, split {split}")
        self._decoder = ShardDecoder(prepared, split, cache, budget, self._broken, self._index, self._pool)
        self._open = OpenShards(self._decoder, self._broken, f"{prepared.name} {split}")
        self.layout, self.counts = self._decoder.layout, self._index.counts

    @property
    def progress(self) -> int:
        """Grows while samples are decoded into the cache, shards are fetched, or a live process is waited for."""
        return self._decoder.progress + activity()

    @staticmethod
    def open(
        prepared: Prepared,
        split: str,
        cache: Path | None = None,
        *,
        max_broken: int = 0,
        cache_gb: float | None = None,
    ) -> Store:
        """Opens a split.

        Args:
            cache: folder of decoded shards; default `$BLEAR_CACHE/decoded`, else `<prepared folder>/cache`.
            max_broken: how many samples may be broken; broken samples are left out.
            cache_gb: budget of the cache in 10^9 bytes; 0: no cache; None: 80 % of the disk space available to it.

        Raises:
            DataError: the dataset has no such split.
        """
        if cache is None:
            shared = os.environ.get("BLEAR_CACHE") or prepared.mirror is not None
            cache = cache_root().parent / "decoded" if shared else prepared.folder / "cache"
        return Store(prepared, split, cache, None if cache_gb is None else int(cache_gb * 1e9), max_broken)

    def close(self) -> None:
        """Permits eviction of the shards from the cache; later reads decode single samples."""
        self._open.close()

    def __len__(self) -> int:
        return len(self._index)

    @property
    def broken(self) -> list[tuple[str, str, str]]:
        """(shard, key, cause) of each broken sample found so far."""
        return self._broken.found()

    def take(self, samples_B: np.ndarray, select_frames: FrameSelector | None = None) -> DecodedSamples:
        """Reads some samples into memory, in the given order.

        Args:
            samples_B: sample numbers, int64 [B].
            select_frames: selects the frames of each clip; None: all of them, the last one repeated in short clips.

        Raises:
            DataError: more samples are broken than `max_broken`; all samples of an unreadable shard are broken.
            IndexError: the split has no such sample.
        """
        import torch

        groups = list(self._index.by_shard(samples_B))
        values_BK = np.zeros((len(samples_B), self.layout.label_columns))
        good_B = np.ones(len(samples_B), dtype=np.bool_)
        step = self._open.at_once
        frames_BT: np.ndarray | None = None
        arrays: list[np.ndarray] | None = None
        if select_frames is not None and len(groups) > step:
            frames_BT = select_frames(self.lengths(samples_B))
        for first in range(0, max(1, len(groups)), step):
            some = groups[first : first + step]
            opened = self._open.get([shard for shard, _, _ in some])
            for shard, rows, positions in some:
                values_BK[positions] = opened[shard].values_NK[rows]
            if select_frames is not None and frames_BT is None:
                frames_BT = select_frames(self._lengths(values_BK))
            arrays = self._allocate(len(samples_B), frames_BT) if arrays is None else arrays
            self._copy_decoded(some, opened, arrays, frames_BT, good_B)
            self._decode_encoded(some, opened, arrays, frames_BT, good_B)
            del opened  # before the next shards are opened
        outputs = [channels_first(torch.from_numpy(array)) for array in arrays or ()]
        if not good_B.all():
            good = torch.from_numpy(np.flatnonzero(good_B))
            outputs, values_BK = [output[good] for output in outputs], values_BK[good_B]
        declared = self.layout.targets
        targets = {
            target.name: torch.from_numpy(_typed_labels(target, values_BK[:, columns]))
            for target, columns in zip(declared, label_slices(declared).values(), strict=True)
        }
        return DecodedSamples(good_B, outputs[0], outputs[1] if len(outputs) > 1 else None, targets)

    def _allocate(self, count: int, frames_BT: np.ndarray | None) -> list[np.ndarray]:
        """Allocates the frames [B, T, H, W, C] of a batch, and its clean clips if the split has them."""
        # NumPy allocates huge pages, torch does not: they save a third of the time of a large batch
        return [
            np.empty((count, shape[0] if frames_BT is None else frames_BT.shape[1], *shape[1:]), dtype)
            for shape, dtype in self.layout.arrays
        ]

    def lengths(self, samples_B: np.ndarray) -> np.ndarray:
        """Number of frames of each clip, int64 [B]; reads indexes, no shard."""
        return self._index.lengths(samples_B)

    def keys(self, samples_B: np.ndarray) -> list[str]:
        """Key of each sample; reads indexes, no shard."""
        return self._index.keys(samples_B)

    def metadata(self, samples_B: np.ndarray) -> SampleMetadata:
        """Metadata of each sample as the dataset gave it; reads indexes, no shard."""
        return self._index.metadata(samples_B)

    def _copy_decoded(
        self,
        groups: Sequence[_ShardRows],
        opened: dict[int, OpenShard],
        arrays: Sequence[np.ndarray],
        frames_BT: np.ndarray | None,
        good_B: np.ndarray,
    ) -> None:
        """Copies the samples of decoded shards into `arrays`; clears `good_B` of broken ones."""
        is_large = arrays[0].nbytes >= _LARGE_BATCH_BYTES  # one core alone does not use the memory bandwidth
        jobs: list[CopyJob] = []
        for shard, rows, positions in groups:
            decoded = opened[shard]
            if isinstance(decoded, EncodedShard):
                continue
            for array, stored in zip(arrays, decoded.arrays, strict=True):
                parts = self._slices(len(rows), self._pool.threads if is_large else 1)
                jobs += [(stored, rows[part], array, positions[part]) for part in parts]
            if decoded.broken:
                good_B[positions] = [row not in decoded.broken for row in rows.tolist()]
        copy = functools.partial(copy_samples, frames_BT=frames_BT)
        if is_large:
            self._pool.map_copies(copy, jobs)
        else:
            for job in jobs:
                copy(job)

    def _decode_encoded(
        self,
        groups: Sequence[_ShardRows],
        opened: dict[int, OpenShard],
        arrays: Sequence[np.ndarray],
        frames_BT: np.ndarray | None,
        good_B: np.ndarray,
    ) -> None:
        """Decodes the samples of encoded shards into `arrays`; records broken ones and clears their `good_B`."""
        jobs: list[DecodeJob] = []
        for shard, rows, positions in groups:
            encoded = opened[shard]
            if isinstance(encoded, EncodedShard):
                parts = self._slices(len(rows), max_jobs(encoded, rows))
                jobs += [DecodeJob(shard, encoded, rows[part], positions[part]) for part in parts]
        if not jobs:
            return
        results = decode_samples(jobs, arrays, frames_BT, self.layout, self._pool, start_worker=self._decoder.is_large)
        broken_by_shard: dict[int, dict[int, str]] = {}
        for job, broken in zip(jobs, results, strict=True):
            if broken:
                broken_by_shard.setdefault(job.shard, {}).update(broken)
                good_B[job.positions] = [row not in broken for row in job.rows.tolist()]
        for shard, broken in broken_by_shard.items():
            self._decoder.record_broken(shard, broken)

    def _slices(self, count: int, max_slices: int) -> list[slice]:
        """Splits range(count) into at most `max_slices` slices, and at most one for each thread of the pool."""
        slices = min(max_slices, self._pool.threads)
        if slices <= 1:
            return [slice(count)]
        step = max(1, -(-count // slices))
        return [slice(first, first + step) for first in range(0, count, step)]

    def _lengths(self, values_BK: np.ndarray) -> np.ndarray:
        """Number of frames of each clip, int64 [B], from the stored labels; 1 for broken samples."""
        if self.layout.clip.shortest is None:
            return np.full(len(values_BK), self.layout.clip.length, dtype=np.int64)
        return np.maximum(1, values_BK[:, -1].astype(np.int64))


def _typed_labels(target: Target, values_BK: np.ndarray) -> np.ndarray:
    """Converts the label columns of a target: int64 [B] classes, float32 [B] values, or float32 [B, K] shares."""
    if target.kind == "distribution":
        return values_BK.astype(np.float32)
    return values_BK[:, 0].astype(np.int64 if target.kind == "class" else np.float32)
