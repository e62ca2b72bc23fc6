"""The open shards of a split: decoded ones from the cache, else encoded ones that are decoded sample by sample."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Sequence

from blear.data.broken_samples import BrokenSamples, TooManyBroken
from blear.data.decoded.cache_file import DecodedShard
from blear.data.decoded.open_files import OpenFiles, TooManyOpenFiles, raise_soft_limit, too_many_open_files
from blear.data.decoded.prefetcher import ShardPrefetcher
from blear.data.decoded.shard_decoder import ShardDecoder
from blear.data.shard.encoded_shard import EncodedShard
from blear.errors import DataError
from blear.progress import track

_PREFETCHED, _LOOK_AHEAD = 2, 16  # shards that are prefetched, out of so many next ones
_SHOW_PROGRESS_BYTES = 1 << 28  # decoding so many bytes takes some seconds

OpenShard = DecodedShard | EncodedShard
_OPEN: OpenFiles[OpenShard] = OpenFiles()
"""The open shards of all stores of this process."""
os.register_at_fork(after_in_child=_OPEN.after_fork)


class OpenShards:
    """Opens shards on demand and keeps the most recently used ones open (see `open_files`). Thread-safe.

    Args:
        decoder: opens single shards.
        broken: collects broken samples.
        name: name of the split, for the progress bar.
    """

    def __init__(self, decoder: ShardDecoder, broken: BrokenSamples, name: str) -> None:
        self._decoder, self._broken, self._name = decoder, broken, name
        self._owner = _OPEN.new_owner()
        weakref.finalize(self, _OPEN.clear, self._owner)
        self._lock = threading.Lock()
        self._prefetcher = ShardPrefetcher(decoder.prefetch)

    @property
    def at_once(self) -> int:
        """Largest number of shards for one call of `get`, so that the calls of several threads fit the budget."""
        return max(1, _OPEN.limit // 4)

    def close_files(self) -> None:
        """Closes all shards of this store; they are opened again when they are needed."""
        _OPEN.clear(self._owner)

    def close(self) -> None:
        """Permits eviction of the shards from the cache; shards opened later are decoded sample by sample."""
        with self._lock:
            self._decoder.close()
        self._prefetcher.close()

    def get(self, shards: Sequence[int]) -> dict[int, OpenShard]:
        """Opens shards; missing ones are decoded into the cache where it has space.

        Raises:
            TooManyOpenFiles: the process cannot open more files.
            DataError: too many samples are broken; all samples of a shard that cannot be read are.
        """
        with self._lock:
            found = {shard: opened for shard in shards if (opened := _OPEN.find(self._owner, shard)) is not None}
            new = [shard for shard in shards if shard not in found]
            missing = [shard for shard in new if not self._open_with(self._decoder.open_cached, shard, found)]
            if missing:
                self._decode(missing, found)
            elif new:
                self._prefetch([], new[-1])
            return found

    def _decode(self, shards: Sequence[int], found: dict[int, OpenShard]) -> None:
        """Decodes shards and opens them into `found`; shards that another process is decoding come last."""
        decoder = self._decoder
        total = sum(decoder.shards[shard].samples for shard in shards)
        with contextlib.ExitStack() as stack:
            bar = None
            if decoder.has_cache and total * decoder.layout.sample_bytes > _SHOW_PROGRESS_BYTES:
                bar = stack.enter_context(track(f"decode {self._name}", total))

            def advance(samples: int) -> None:
                decoder.progress += samples
                if bar is not None:
                    bar.advance(samples)

            locked = []
            for number, shard in enumerate(shards, 1):
                on_submitted = functools.partial(self._prefetch, shards[number:], shards[-1])
                decode = functools.partial(decoder.decode, advance=advance, on_submitted=on_submitted, wait=False)
                if not self._open_with(decode, shard, found):
                    locked.append(shard)
            self._prefetch([], shards[-1])
            for shard in locked:
                decode = functools.partial(decoder.decode, advance=advance, on_submitted=lambda: None, wait=True)
                self._open_with(decode, shard, found)

    def _prefetch(self, remaining: Sequence[int], last: int) -> None:
        """Schedules the next shards for decoding: the remaining ones of this request, then those behind the last."""
        if self._decoder.prefetches:
            following = range(last + 1, min(last + 1 + _LOOK_AHEAD, len(self._decoder.shards)))
            missing = (
                shard
                for shard in following
                if not _OPEN.holds(self._owner, shard) and not self._decoder.is_cached(shard)
            )
            self._prefetcher.schedule(itertools.islice(itertools.chain(remaining, missing), _PREFETCHED))

    def _open_with(self, opener: Callable[[int], OpenShard | None], shard: int, found: dict[int, OpenShard]) -> bool:
        """Opens a shard with `opener` into `found`; returns False if it returns None.

        All samples of a shard that is missing or damaged as a whole are broken. A shard that cannot be opened because
        there are too many open files is not: it is opened again after all other shards are closed.
        """
        try:
            opened = _open_after_closing_others(opener, shard)
        except (TooManyBroken, TooManyOpenFiles):
            raise
        except DataError as error:
            opened = self._unreadable(shard, error)
        if opened is None:
            return False
        _OPEN.add(self._owner, shard, opened)
        found[shard] = opened
        return True

    def _unreadable(self, shard: int, error: DataError) -> DecodedShard:
        info = self._decoder.shards[shard]
        try:
            keys = self._decoder.index.of_shard(shard).keys
        except DataError:
            keys = tuple(f"number {row}" for row in range(info.samples))
        try:
            self._broken.add(self._decoder.prepared.folder / info.title, dict.fromkeys(keys, error.what))
        except TooManyBroken as over_limit:
            limit = f"; {over_limit.what}" if self._broken.limit else ""
            raise DataError(f"{error.what}{limit}", error.where, error.do) from error
        return DecodedShard.unreadable(self._decoder.layout, info.samples, error.what)


def _open_after_closing_others(opener: Callable[[int], OpenShard | None], shard: int) -> OpenShard | None:
    """Opens a shard; if there are too many open files, closes all shards that no batch uses and tries once more.

    Raises:
        TooManyOpenFiles: it did not help.
    """
    try:
        return opener(shard)
    except OSError as error:
        if not too_many_open_files(error):
            raise
    _OPEN.clear()
    try:
        return opener(shard)
    except OSError as error:
        if not too_many_open_files(error):
            raise
        what = f"no file can be opened: {error.strerror} (limit of this process: {raise_soft_limit()})"
        do = "raise the limit (`ulimit -n 65536`, or `LimitNOFILE` of the service), or use fewer readers at once"
        raise TooManyOpenFiles(what, "shards", do) from error
