"""One split with random access: shards decoded once on a machine where the cache has room, else on the fly."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blear.data.broken import BrokenSamples, TooManyBroken
from blear.data.decoded.cache import Cache, Claim, Refusal, is_full
from blear.data.decoded.file import DecodedShard, Form, state_of, write_decoded
from blear.data.fetch.mirror import cache_root
from blear.data.prepared import Prepared
from blear.data.shard.archive import index_of, index_path
from blear.data.shard.encoded import EncodedShard
from blear.data.shard.index import PREPARE_AGAIN, ShardIndex
from blear.errors import DataError
from blear.progress import say, track

if TYPE_CHECKING:
    from torch import Tensor

_MOST_OPEN = 4096
_INDEXES = 32
_THREADS = 8
_SMALL_BYTES = 1 << 14  # below, NumPy's own loop over samples pays for its second copy
_LONG_BYTES = 1 << 28  # decoding that takes some seconds shows its progress


@dataclass(frozen=True)
class Taken:
    """Samples in memory; G of the B that were asked for are good, in their order.

    Attributes:
        good_B: which of them decode and carry right labels.
        frames: uint8 in 0..255 or float32, [G, T, C, H, W].
        clean: the samples' own clean clips, alike, or None.
        targets: target name -> int64 [G] class index or float32 [G] value.
    """

    good_B: np.ndarray
    frames: Tensor
    clean: Tensor | None
    targets: dict[str, Tensor]


@dataclass(frozen=True)
class Columns:
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
        progress: samples decoded into the cache so far; grows while a first `take` of a large split decodes it.
    """

    def __init__(self, prepared: Prepared, split: str, cache: Path, budget: int | None, max_broken: int) -> None:
        info = prepared.split(split)
        self.prepared, self.split, self.shards = prepared, split, info.shards
        self.form = Form(prepared.clip, info.layout, prepared.info.targets)
        self.progress = 0
        self.counts = np.array([shard.samples for shard in self.shards], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.counts)])
        self._broken = BrokenSamples(max_broken, f"{prepared.name}, split {split}", f"{prepared.place}, split {split}")
        self._cache: Cache | None = None
        try:
            if budget != 0:
                self._cache = Cache(cache, [self.form.name(shard) for shard in self.shards], budget)
                weakref.finalize(self, self._cache.close)
        except OSError as error:
            self._give_up(error, str(cache))
        self._open: OrderedDict[int, DecodedShard | EncodedShard] = OrderedDict()
        self._lock = threading.Lock()
        self._index = functools.lru_cache(_INDEXES)(functools.partial(_load_index, prepared, self.shards))
        self._columns = functools.lru_cache(_INDEXES)(functools.partial(_load_columns, self._index))
        self._threads = min(_THREADS, len(os.sched_getaffinity(0)))
        self._pool = ThreadPoolExecutor(self._threads, "blear-decode") if self._threads > 1 else None

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
        with self._lock:
            if self._cache is not None:
                self._cache.close()
                self._cache = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def broken(self) -> list[tuple[str, str, str]]:
        """(shard, key, cause) of the broken samples met so far."""
        return self._broken.found()

    def take(self, samples_B: np.ndarray) -> Taken:
        """Some samples, copied into memory.

        Raises:
            DataError: more samples are broken than may be; all those of a shard that cannot be read are.
        """
        import torch

        groups = list(self._groups(samples_B))
        opened = self._opened([shard for shard, _, _ in groups])
        outs = [torch.empty((len(samples_B), *shape), dtype=_torch(kind)) for shape, kind in self.form.arrays]
        arrays = [out.numpy() for out in outs]
        values_BK = np.zeros((len(samples_B), len(self.form.targets)))
        good_B = np.ones(len(samples_B), dtype=np.bool_)
        jobs: list[tuple[int, EncodedShard, np.ndarray, np.ndarray]] = []
        for shard, rows, places in groups:
            one = opened[shard]
            values_BK[places] = one.values_NK[rows]
            if isinstance(one, EncodedShard):
                jobs += [(shard, one, rows[part], places[part]) for part in self._shares(len(rows))]
                continue
            for array, stored in zip(arrays, one.arrays, strict=True):
                _copy(stored, rows, array, places)
            if one.broken:
                good_B[places] = [row not in one.broken for row in rows.tolist()]
        met: dict[int, dict[int, str]] = {}
        for (shard, _, rows, places), broken in zip(jobs, self._decode(jobs, arrays), strict=True):
            if broken:
                met.setdefault(shard, {}).update(broken)
                good_B[places] = [row not in broken for row in rows.tolist()]
        for shard, broken in met.items():
            self._note(shard, broken)
        if not good_B.all():
            whole = torch.from_numpy(np.flatnonzero(good_B))
            outs, values_BK = [out[whole] for out in outs], values_BK[good_B]
        targets = {
            target.name: torch.from_numpy(values.astype(np.int64 if target.kind == "class" else np.float32))
            for target, values in zip(self.form.targets, values_BK.T, strict=True)
        }
        return Taken(good_B, outs[0], outs[1] if len(outs) > 1 else None, targets)

    def keys(self, samples_B: np.ndarray) -> list[str]:
        """The samples' keys."""
        keys = [""] * len(samples_B)
        for shard, rows, places in self._groups(samples_B):
            found = self._index(shard).keys
            for row, place in zip(rows.tolist(), places.tolist(), strict=True):
                keys[place] = found[row]
        return keys

    def columns(self, samples_B: np.ndarray) -> Columns:
        """What the dataset said of the samples; reads the shards' indexes, no shard."""
        found: list[dict[str, Any]] = [{}] * len(samples_B)
        for shard, rows, places in self._groups(samples_B):
            columns = self._columns(shard)
            for row, place in zip(rows.tolist(), places.tolist(), strict=True):
                found[place] = {name: values[row] for name, values in columns.items()}
        names = ("subject", "video", "time", "meta")
        return Columns(self.keys(samples_B), *([one[name] for one in found] for name in names))

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
        edges = np.flatnonzero(np.diff(shards_B)) + 1
        for places, rows, shards in zip(
            *(np.split(all_B, edges) for all_B in (order, sorted_B, shards_B)), strict=True
        ):
            shard = int(shards[0])
            yield shard, rows - self._starts[shard], places

    def _shares(self, count: int) -> list[slice]:
        """A job of `count` samples cut for the threads."""
        step = max(1, -(-count // self._threads))
        return [slice(first, first + step) for first in range(0, count, step)]

    def _decode(
        self, jobs: Sequence[tuple[int, EncodedShard, np.ndarray, np.ndarray]], arrays: Sequence[np.ndarray]
    ) -> list[dict[int, str]]:
        def decode(job: tuple[int, EncodedShard, np.ndarray, np.ndarray]) -> dict[int, str]:
            _, encoded, rows, places = job
            try:
                return encoded.decode(rows.tolist(), arrays, places.tolist())
            except OSError as error:
                return dict.fromkeys(rows.tolist(), f"the shard cannot be read: {error.strerror}")

        return list(self._pool.map(decode, jobs) if self._pool is not None and len(jobs) > 1 else map(decode, jobs))

    def _opened(self, shards: Sequence[int]) -> dict[int, DecodedShard | EncodedShard]:
        """The shards, each decoded in the cache or ready to be decoded."""
        with self._lock:
            missing = [shard for shard in shards if shard not in self._open and not self._or_lost(shard, self._find)]
            if missing:
                self._fill(missing)
            for shard in shards:
                self._open.move_to_end(shard)
            found = {shard: self._open[shard] for shard in shards}
            limit = min(_MOST_OPEN, max(64, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))
            while len(self._open) > limit:
                self._open.popitem(last=False)
            return found

    def _find(self, shard: int) -> bool:
        """Opens the decoded file of a shard, if it is there."""
        path = self._cache.find(self.form.name(self.shards[shard])) if self._cache is not None else None
        if path is None:
            return False
        found = DecodedShard.open(path, self.form, int(self.counts[shard]))
        if found is None or (found.broken and found.shard != state_of(self.prepared.local(self.shards[shard]))):
            path.unlink(missing_ok=True)  # damaged, or made of a broken shard that was mended
            return False
        self._note(shard, found.broken)
        self._open[shard] = found
        return True

    def _fill(self, shards: Sequence[int]) -> None:
        """Decodes shards into the cache; those that another process decodes come last."""
        total = int(self.counts[list(shards)].sum())
        with contextlib.ExitStack() as stack:
            bar = None
            if self._cache is not None and total * self.form.sample_bytes > _LONG_BYTES:
                bar = stack.enter_context(track(f"decode {self.prepared.name} {self.split}", total))

            def advance(samples: int) -> None:
                self.progress += samples
                if bar is not None:
                    bar.advance(samples)

            decoded = functools.partial(self._decoded, advance=advance)
            busy = [shard for shard in shards if not self._or_lost(shard, functools.partial(decoded, wait=False))]
            for shard in busy:
                self._or_lost(shard, functools.partial(decoded, wait=True))

    def _decoded(self, shard: int, advance: Callable[[int], None], *, wait: bool) -> bool:
        """Opens one shard, decoding it into the cache if there is room; False: another process is at it."""
        while self._cache is not None:
            try:
                claim = self._cache.claim(self.form.name(self.shards[shard]), self._bytes(shard), wait=wait)
                if isinstance(claim, Claim):
                    self._write(claim, shard, advance)
                elif claim is Refusal.THERE:
                    advance(int(self.counts[shard]))
            except OSError as error:
                self._give_up(error, str(self._cache.folder))
                break
            if claim is Refusal.BUSY:
                return False
            if claim is Refusal.FULL:
                break
            if self._find(shard):
                return True
        self._open[shard] = self._encoded(shard)
        return True

    def _write(self, claim: Claim, shard: int, advance: Callable[[int], None]) -> None:
        whole = False
        try:
            encoded = self._encoded(shard)
            self._note(shard, write_decoded(claim, encoded, self.form, self._pool, advance))
            encoded.close()
            whole = True
        finally:
            if whole:
                claim.commit()
            else:
                claim.abandon()

    def _or_lost(self, shard: int, opening: Callable[[int], bool]) -> bool:
        """Opens a shard in some way; where it is missing or damaged as a whole, all its samples are broken."""
        try:
            return opening(shard)
        except TooManyBroken:
            raise
        except DataError as error:
            info = self.shards[shard]
            try:
                keys = self._index(shard).keys
            except DataError:
                keys = tuple(f"number {row}" for row in range(info.samples))
            try:
                self._broken.add(self.prepared.folder / info.name, dict.fromkeys(keys, error.what))
            except TooManyBroken as over:
                budget = f"; {over.what}" if self._broken.most else ""
                raise DataError(f"{error.what}{budget}", error.where, error.do) from error
            self._open[shard] = DecodedShard.lost(self.form, info.samples, error.what)
            return True

    def _encoded(self, shard: int) -> EncodedShard:
        info = self.shards[shard]
        encoded = EncodedShard(self.prepared.local(info), self.form.clip, self.form.layout, self.form.targets)
        if len(encoded) != info.samples:
            raise _another(encoded.shard.path, len(encoded), info.samples)
        return encoded

    def _bytes(self, shard: int) -> int:
        """Bytes of the decoded file, but for what it says of broken samples."""
        return self.form.starts(int(self.counts[shard]))[-1]

    def _note(self, shard: int, broken: dict[int, str]) -> None:
        if broken:
            keys = self._index(shard).keys
            path = self.prepared.folder / self.shards[shard].name
            self._broken.add(path, {keys[row]: cause for row, cause in sorted(broken.items())})

    def _give_up(self, error: OSError, where: str) -> None:
        """Goes on without the cache."""
        cause = "the disk is full" if is_full(error) else error.strerror or str(error)
        say(f"{where}: {cause}; shards that are not decoded yet are decoded again each time they are read")
        if self._cache is not None:
            self._cache.close()
        self._cache = None


def _load_index(prepared: Prepared, shards: Sequence[Any], shard: int) -> ShardIndex:
    info = shards[shard]
    path = prepared.folder / info.name
    try:
        index = index_of(prepared.local(info))
    except DataError:
        if not index_path(path).is_file():
            raise
        index = ShardIndex.load(index_path(path))  # the shard is gone or damaged, its samples may be decoded
    if len(index) != info.samples:
        raise _another(path, len(index), info.samples)
    return index


def _another(path: Path, found: int, said: int) -> DataError:
    return DataError(f"the shard has {found} samples, dataset.json says {said}", str(path), PREPARE_AGAIN)


def _load_columns(index: Callable[[int], ShardIndex], shard: int) -> dict[str, list[Any]]:
    return index(shard).columns()


def _copy(stored: np.ndarray, rows: np.ndarray, out: np.ndarray, places: np.ndarray) -> None:
    """out[places] = stored[rows], the fastest way for what is asked."""
    count = len(rows)
    if (np.diff(rows) == 1).all() and (np.diff(places) == 1).all():
        out[places[0] : places[0] + count] = stored[rows[0] : rows[0] + count]
    elif count > 1 and stored[0].nbytes < _SMALL_BYTES:
        out[places] = stored[rows]
    else:
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            out[place] = stored[row]


def _torch(kind: np.dtype) -> Any:
    import torch

    return torch.uint8 if kind == np.uint8 else torch.float32
