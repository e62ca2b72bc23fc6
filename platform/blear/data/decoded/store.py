"""One split with random access: shards decoded once on a machine where the cache has room, else on the fly."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blear.data.broken_samples import BrokenSamples
from blear.data.decoded.open_shards import OpenShards, another_count
from blear.data.decoded.worker_pool import crew, fetch
from blear.data.frame_sampling import FrameSelector
from blear.data.mirror import cache_root
from blear.data.prepared import Prepared
from blear.data.sample_source import DecodedSamples
from blear.data.shard.archive import index_path, load_index
from blear.data.shard.encoded_shard import EncodedShard
from blear.data.shard.index import ShardIndex
from blear.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

_INDEXES = 32
_LARGE_BYTES = 1 << 23
_FETCHED_BYTES = 1 << 17  # of encoded samples: fewer are not worth the way to another process and back
_SMALL_BYTES = 1 << 14  # below, NumPy's own loop over samples pays for its second copy

_Copy = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Stored samples, which of them, where they go, and at which places."""


@dataclass(frozen=True)
class SampleMetadata:
    """What the dataset said of some samples, one entry for each."""

    keys: list[str]
    subjects: list[str]
    videos: list[str]
    times: list[float | None]
    meta: list[dict[str, Any]]


class Store:
    """The samples of a split in the order of its shards, broken ones included; thread-safe.

    Opening reads no shard. A shard is decoded when a sample of it is first taken: into the cache where there is room,
    by one process of the machine for all; else the sample alone, each time. A store's shards are not evicted before
    it is closed or gone.

    Attributes:
        counts: int64, samples of each shard.
    """

    def __init__(self, prepared: Prepared, split: str, cache: Path, budget: int | None, max_broken: int) -> None:
        self.prepared, self.split, self.shards = prepared, split, prepared.split(split).shards
        self._broken = BrokenSamples(max_broken, f"{prepared.name}, split {split}", f"{prepared.place}, split {split}")
        self._index = functools.lru_cache(_INDEXES)(functools.partial(_load_index, prepared, self.shards))
        self._columns = functools.lru_cache(_INDEXES)(functools.partial(_load_columns, self._index))
        self._team = crew()
        self._open = OpenShards(prepared, split, cache, budget, self._broken, self._index, self._team)
        self.form, self.counts = self._open.form, self._open.counts
        self._starts = np.concatenate([[0], np.cumsum(self.counts)])

    @property
    def progress(self) -> int:
        """Grows while a first `take` of a large split decodes samples into the cache."""
        return self._open.progress

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
            max_broken: how many samples may be broken and are left out.
            cache_gb: budget of that folder in 10^9 bytes; 0: no cache; None: 80 % of what its disk has for it.

        Raises:
            DataError: no such split.
        """
        if cache is None:
            shared = os.environ.get("BLEAR_CACHE") or prepared.mirror is not None
            cache = cache_root().parent / "decoded" if shared else prepared.folder / "cache"
        return Store(prepared, split, cache, None if cache_gb is None else int(cache_gb * 1e9), max_broken)

    def close(self) -> None:
        """Lets the cache evict this store's shards; what is taken later is decoded on the fly."""
        self._open.close()

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def broken(self) -> list[tuple[str, str, str]]:
        """(shard, key, cause) of the broken samples met so far."""
        return self._broken.found()

    def take(self, samples_B: np.ndarray, select_frames: FrameSelector | None = None) -> DecodedSamples:
        """Some samples, copied into memory.

        Args:
            select_frames: selects the frames of each clip; None: all of them, the last one repeated in short clips.

        Raises:
            DataError: more samples are broken than may be; all those of a shard that cannot be read are.
        """
        import torch

        groups = list(self._groups(samples_B))
        opened = self._open.get([shard for shard, _, _ in groups])
        values_BK = np.zeros((len(samples_B), self.form.columns))
        for shard, rows, places in groups:
            values_BK[places] = opened[shard].values_NK[rows]
        frames_BT = None if select_frames is None else select_frames(self._lengths(values_BK))
        forms = [
            ((shape[0] if frames_BT is None else frames_BT.shape[1], *shape[1:]), kind)
            for shape, kind in self.form.arrays
        ]
        # NumPy asks for huge pages, torch does not: a third of the time of a large batch
        arrays = [np.empty((len(samples_B), *shape), kind) for shape, kind in forms]
        outs = [_planes_first(torch.from_numpy(array)) for array in arrays]
        large = arrays[0].nbytes >= _LARGE_BYTES  # one core does not reach the memory's speed
        good_B = np.ones(len(samples_B), dtype=np.bool_)
        jobs: list[tuple[int, EncodedShard, np.ndarray, np.ndarray]] = []
        copies: list[_Copy] = []
        for shard, rows, places in groups:
            one = opened[shard]
            if isinstance(one, EncodedShard):
                worth = _bytes(one, rows) // _FETCHED_BYTES
                jobs += [(shard, one, rows[part], places[part]) for part in self._shares(len(rows), worth)]
                continue
            for array, stored in zip(arrays, one.arrays, strict=True):
                parts = self._shares(len(rows), self._team.threads if large else 1)
                copies += [(stored, rows[part], array, places[part]) for part in parts]
            if one.broken:
                good_B[places] = [row not in one.broken for row in rows.tolist()]
        copy = functools.partial(_copy, frames_BT=frames_BT)
        if large:
            self._team.copy(copy, copies)
        else:
            for job in copies:
                copy(job)
        met: dict[int, dict[int, str]] = {}
        for (shard, _, rows, places), broken in zip(jobs, self._decode(jobs, arrays, frames_BT), strict=True):
            if broken:
                met.setdefault(shard, {}).update(broken)
                good_B[places] = [row not in broken for row in rows.tolist()]
        for shard, broken in met.items():
            self._open.note(shard, broken)
        if not good_B.all():
            whole = torch.from_numpy(np.flatnonzero(good_B))
            outs, values_BK = [out[whole] for out in outs], values_BK[good_B]
        targets = {
            target.name: torch.from_numpy(values.astype(np.int64 if target.kind == "class" else np.float32))
            for target, values in zip(self.form.targets, values_BK.T, strict=False)  # the last may be the lengths
        }
        return DecodedSamples(good_B, outs[0], outs[1] if len(outs) > 1 else None, targets)

    def lengths(self, samples_B: np.ndarray) -> np.ndarray:
        """Frames that each clip has, int64 [B]; reads the shards' indexes, no shard."""
        lengths_B = np.full(len(samples_B), self.form.clip.length, dtype=np.int64)
        if self.form.clip.shortest is not None:
            for shard, rows, places in self._groups(samples_B):
                lengths_B[places] = self._index(shard).frames_N2[rows, 0].clip(1, self.form.clip.length)
        return lengths_B

    def keys(self, samples_B: np.ndarray) -> list[str]:
        """The samples' keys."""
        keys = [""] * len(samples_B)
        for shard, rows, places in self._groups(samples_B):
            found = self._index(shard).keys
            for row, place in zip(rows.tolist(), places.tolist(), strict=True):
                keys[place] = found[row]
        return keys

    def metadata(self, samples_B: np.ndarray) -> SampleMetadata:
        """What the dataset said of the samples; reads the shards' indexes, no shard."""
        found: list[dict[str, Any]] = [{}] * len(samples_B)
        for shard, rows, places in self._groups(samples_B):
            columns = self._columns(shard)
            for row, place in zip(rows.tolist(), places.tolist(), strict=True):
                found[place] = {name: values[row] for name, values in columns.items()}
        names = ("subject", "video", "time", "meta")
        return SampleMetadata(self.keys(samples_B), *([one[name] for one in found] for name in names))

    def _groups(self, samples_B: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(shard, samples of that shard, their places in the batch), in the order of the shards."""
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

    def _shares(self, count: int, most: int) -> list[slice]:
        """A job of `count` samples cut for the threads, into `most` parts or fewer."""
        step = max(1, -(-count // max(1, min(most, self._team.threads))))
        return [slice(first, first + step) for first in range(0, count, step)]

    def _lengths(self, values_BK: np.ndarray) -> np.ndarray:
        """Frames of each clip, of the labels as they are stored; 1 for what is broken."""
        if self.form.clip.shortest is None:
            return np.full(len(values_BK), self.form.clip.length, dtype=np.int64)
        return np.maximum(1, values_BK[:, -1].astype(np.int64))

    def _decode(
        self,
        jobs: Sequence[tuple[int, EncodedShard, np.ndarray, np.ndarray]],
        arrays: Sequence[np.ndarray],
        frames_BT: np.ndarray | None,
    ) -> list[dict[int, str]]:
        def decode(job: tuple[int, EncodedShard, np.ndarray, np.ndarray]) -> dict[int, str]:
            _, encoded, rows, places = job
            try:
                if frames_BT is None:
                    fetched = self._fetched(encoded, rows)
                    if fetched is None:
                        return encoded.decode(rows, arrays, places.tolist())
                    clips, causes = fetched
                    for clip, array in zip(clips, arrays, strict=True):
                        _copy((clip, np.arange(len(rows)), array, places), None)
                    return {int(rows[n]): cause for n, cause in causes.items()}
                broken: dict[int, str] = {}
                whole = [np.empty((1, *shape), kind) for shape, kind in self.form.arrays]
                for row, place in zip(rows[:, None], places.tolist(), strict=True):  # one by one: clips are large
                    broken |= encoded.decode(row, whole, [0])
                    for clip, array in zip(whole, arrays, strict=True):
                        np.take(clip[0], frames_BT[place], axis=0, out=array[place], mode="clip")
                return broken
            except OSError as error:
                return dict.fromkeys(rows.tolist(), f"the shard cannot be read: {error.strerror}")

        return self._team.each(decode, jobs)

    def _fetched(self, encoded: EncodedShard, rows: np.ndarray) -> tuple[list[np.ndarray], dict[int, str]] | None:
        """Samples that a helper process decoded, where that pays."""
        if _bytes(encoded, rows) < _FETCHED_BYTES // 2:
            return None
        return fetch(encoded.samples, rows, self.form.arrays, encoded.shard.descriptor, much=self._open.large)


def _bytes(encoded: EncodedShard, rows: np.ndarray) -> int:
    """About how many encoded bytes some samples have."""
    return len(rows) * encoded.samples.bytes // len(encoded)


def _planes_first(clips_BTHWC: Tensor) -> Tensor:
    """[B, T, C, H, W] on the same memory."""
    batch, length, height, width, channels = clips_BTHWC.shape
    if channels == 1:
        return clips_BTHWC.view(batch, length, 1, height, width)
    return clips_BTHWC.permute(0, 1, 4, 2, 3)


def _load_index(prepared: Prepared, shards: Sequence[Any], shard: int) -> ShardIndex:
    info = shards[shard]
    path = prepared.folder / info.name
    try:
        index = load_index(prepared.local(info))
    except DataError:
        if not index_path(path).is_file():
            raise
        index = ShardIndex.load(index_path(path))  # the shard is gone or damaged, its samples may be decoded
    if len(index) != info.samples:
        raise another_count(path, len(index), info.samples)
    return index


def _load_columns(index: Callable[[int], ShardIndex], shard: int) -> dict[str, list[Any]]:
    return index(shard).columns()


def _copy(job: _Copy, frames_BT: np.ndarray | None) -> None:
    """out[places] = stored[rows], or their chosen frames: the fastest way for what is asked."""
    stored, rows, out, places = job
    if frames_BT is not None:
        _copy_frames(stored, rows, out, places, frames_BT)
        return
    count = len(rows)
    if (rows[1:] - rows[:-1] == 1).all() and (places[1:] - places[:-1] == 1).all():
        out[places[0] : places[0] + count] = stored[rows[0] : rows[0] + count]
    elif count > 1 and stored[0].nbytes < _SMALL_BYTES:
        out[places] = stored[rows]
    else:
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            out[place] = stored[row]


def _copy_frames(
    stored: np.ndarray, rows: np.ndarray, out: np.ndarray, places: np.ndarray, frames_BT: np.ndarray
) -> None:
    """out[places] = the chosen frames of stored[rows]; only those are read."""
    for place, row in zip(places.tolist(), rows.tolist(), strict=True):
        np.take(stored[row], frames_BT[place], axis=0, out=out[place], mode="clip")  # other modes buffer
