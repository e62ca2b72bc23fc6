"""Decodes the shards of a split into the cache, or opens them encoded where the cache has no space."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path

from blear.data.broken_samples import BrokenSamples
from blear.data.decoded.cache import ShardCache
from blear.data.decoded.cache_file import DecodedShard, shard_state, write_decoded_shard
from blear.data.decoded.cache_lock import CacheFileLock, LockFailure, is_disk_full
from blear.data.decoded.decoded_layout import DecodedLayout
from blear.data.decoded.open_files import too_many_open_files
from blear.data.decoded.split_index import SplitIndex
from blear.data.decoded.worker_pool import DecodePool
from blear.data.prepared import Prepared
from blear.data.shard.archive import sample_count_error
from blear.data.shard.encoded_shard import EncodedShard
from blear.errors import DataError
from blear.progress import echo

_LARGE_BYTES = 1 << 26  # of encoded shards: half a second of decoding


class ShardDecoder:
    """Opens single shards of a split. Thread-safe, but for two calls of `decode` for the same shard.

    Args:
        prepared, split: the split.
        folder: folder of the cache.
        budget: byte budget of the cache; 0: no cache; None: 80 % of the disk space that is available to it.
        broken: collects broken samples.
        index: indexes of the shards.
        pool: threads that decode the parts of a shard.

    Attributes:
        layout: array shapes and types of the samples.
        progress: grows while samples are decoded into the cache.
        is_large: whether the split is large enough to start worker processes.
    """

    def __init__(
        self,
        prepared: Prepared,
        split: str,
        folder: Path,
        budget: int | None,
        broken: BrokenSamples,
        index: SplitIndex,
        pool: DecodePool,
    ) -> None:
        info = prepared.split(split)
        self.prepared, self.shards, self.index = prepared, info.shards, index
        self.layout = DecodedLayout(prepared.clip, info.layout, prepared.info.targets)
        self.progress = 0
        self.is_large = sum(shard.bytes for shard in info.shards) >= _LARGE_BYTES
        self._broken, self._pool = broken, pool
        self._cache: ShardCache | None = None
        try:
            if budget != 0:
                self._cache = ShardCache(folder, [self.layout.cache_name(shard) for shard in self.shards], budget)
                weakref.finalize(self, self._cache.close)
        except OSError as error:
            self._disable_cache(error, str(folder))

    @property
    def has_cache(self) -> bool:
        """Whether shards are decoded into the cache."""
        return self._cache is not None

    @property
    def prefetches(self) -> bool:
        """Whether prefetching shards saves time; a prefetch of remote shards would also download them."""
        if self._cache is None or self._pool.threads < 2 or self.prepared.mirror is not None:
            return False
        return self.is_large or self._pool.has_worker

    def close(self) -> None:
        """Permits eviction of the shards; later shards are opened encoded."""
        if self._cache is not None:
            self._cache.close()
            self._cache = None

    def record_broken(self, shard: int, broken: Mapping[int, str]) -> None:
        """Adds broken samples of a shard, number -> cause.

        Raises:
            TooManyBroken: more samples are broken than the limit allows.
        """
        if broken:
            keys = self.index.of_shard(shard).keys
            path = self.prepared.folder / self.shards[shard].title
            self._broken.add(path, {keys[row]: cause for row, cause in sorted(broken.items())})

    def is_cached(self, shard: int) -> bool:
        """Whether the cache has a file of the shard; the file is not opened."""
        return self._cache is not None and self._cache.path(self._name(shard)).exists()

    def open_cached(self, shard: int) -> DecodedShard | None:
        """Opens the decoded file of a shard; None if the cache has none that is valid.

        Raises:
            TooManyBroken: as of `record_broken`.
            OSError: there are too many open files.
        """
        path = self._cache.find(self._name(shard)) if self._cache is not None else None
        if path is None:
            return None
        found = DecodedShard.open(path, self.layout, int(self.index.counts[shard]))
        if found is None or (found.broken and found.shard_state != shard_state(self._encoded_path(shard))):
            path.unlink(missing_ok=True)  # damaged, or decoded from a broken shard that was repaired since
            return None
        self.record_broken(shard, found.broken)
        return found

    def decode(
        self, shard: int, advance: Callable[[int], None], on_submitted: Callable[[], None], *, wait: bool
    ) -> DecodedShard | EncodedShard | None:
        """Decodes a shard into the cache and opens it; without cache space, opens the encoded shard.

        Args:
            advance: called with the number of samples decoded since the last call.
            on_submitted: called when all tasks are in the queue.
            wait: waits while another process decodes the shard, instead of returning None.

        Raises:
            DataError: the shard is missing or damaged, or too many samples are broken.
            OSError: there are too many open files.
        """
        while self._cache is not None:
            try:
                lock = self._cache.lock(self._name(shard), self._file_bytes(shard), wait=wait)
                if isinstance(lock, CacheFileLock):
                    self._write(lock, shard, advance, on_submitted)
                elif lock is LockFailure.EXISTS:
                    advance(int(self.index.counts[shard]))
            except OSError as error:
                if too_many_open_files(error):
                    raise
                self._disable_cache(error, str(self._cache.folder))
                break
            if lock is LockFailure.LOCKED:
                return None
            if lock is LockFailure.NO_SPACE:
                break
            found = self.open_cached(shard)
            if found is not None:
                return found
        return self._open_encoded(shard)

    def prefetch(self, shard: int, on_submitted: Callable[[], None]) -> None:
        """Decodes a shard into the cache before it is needed; errors are raised later, when the shard is needed."""
        cache = self._cache
        if cache is None or self.is_cached(shard):
            return

        def advance(samples: int) -> None:
            if self._cache is not cache:  # the store was closed
                raise InterruptedError
            self.progress += samples

        with contextlib.suppress(DataError, OSError, RuntimeError):
            lock = cache.lock(self._name(shard), self._file_bytes(shard))
            if isinstance(lock, CacheFileLock):
                self._write(lock, shard, advance, on_submitted)

    def _write(
        self, lock: CacheFileLock, shard: int, advance: Callable[[int], None], on_submitted: Callable[[], None]
    ) -> None:
        complete = False
        try:
            encoded = self._open_encoded(shard)
            broken = write_decoded_shard(
                lock, encoded, self.layout, advance, on_submitted, self._pool, start_worker=self.is_large
            )
            self.record_broken(shard, broken)
            encoded.close()
            complete = True
        finally:
            if complete:
                lock.commit()
            else:
                lock.discard()

    def _open_encoded(self, shard: int) -> EncodedShard:
        info, layout = self.shards[shard], self.layout
        index = self.index.of_shard(shard) if info.place else None
        encoded = EncodedShard(self._encoded_path(shard), info, layout.clip, layout.stored, layout.targets, index)
        if len(encoded) != info.samples:
            raise sample_count_error(encoded.shard.path, len(encoded), info.samples)
        return encoded

    def _encoded_path(self, shard: int) -> Path:
        return self.prepared.local(self.shards[shard])

    def _name(self, shard: int) -> str:
        return self.layout.cache_name(self.shards[shard])

    def _file_bytes(self, shard: int) -> int:
        """Bytes of the decoded file, without the JSON object."""
        return self.layout.offsets(int(self.index.counts[shard]))[-1]

    def _disable_cache(self, error: OSError, where: str) -> None:
        cause = "the disk is full" if is_disk_full(error) else error.strerror or str(error)
        echo(f"{where}: {cause}; shards that are not decoded yet are decoded again each time they are read")
        self.close()
