"""The open shards of a split: each decoded in the cache where it has room, else ready to be decoded."""

from __future__ import annotations

import contextlib
import functools
import itertools
import resource
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from blear.data.broken_samples import BrokenSamples, TooManyBroken
from blear.data.decoded.cache import Cache, Claim, Refusal, is_full
from blear.data.decoded.cache_file import DecodedShard, Form, state_of, write_decoded
from blear.data.decoded.prefetcher import Ahead
from blear.data.decoded.worker_pool import Crew
from blear.data.prepared import Prepared
from blear.data.shard.encoded_shard import EncodedShard
from blear.data.shard.index import PREPARE_AGAIN, ShardIndex
from blear.errors import DataError
from blear.progress import echo, track

_MOST_OPEN = 4096
_LARGE_BYTES = 1 << 26  # of encoded shards: half a second of decoding
_AHEAD, _NEAR = 2, 16  # so many of the next shards are decoded ahead, if they are as near
_LONG_BYTES = 1 << 28  # decoding that takes some seconds shows its progress


class OpenShards:
    """Opens shards on demand, each by one process of the machine for all; thread-safe.

    Args:
        prepared, split: whose shards.
        cache, budget: folder of decoded shards and its bytes; 0: no cache; None: 80 % of what its disk has for it.
        broken: counts the samples that turn out to be broken.
        index: shard number -> its index.
        team: decodes parts of a shard side by side.

    Attributes:
        form: what all samples have alike.
        counts: int64, samples of each shard.
        progress: grows while samples are decoded into the cache.
        large: whether helper processes pay.
    """

    def __init__(
        self,
        prepared: Prepared,
        split: str,
        cache: Path,
        budget: int | None,
        broken: BrokenSamples,
        index: Callable[[int], ShardIndex],
        team: Crew,
    ) -> None:
        info = prepared.split(split)
        self.prepared, self.split, self.shards = prepared, split, info.shards
        self.form = Form(prepared.clip, info.layout, prepared.info.targets)
        self.counts = np.array([shard.samples for shard in self.shards], dtype=np.int64)
        self.progress = 0
        self.large = sum(shard.bytes for shard in info.shards) >= _LARGE_BYTES
        self._broken, self._index, self._team = broken, index, team
        self._open: OrderedDict[int, DecodedShard | EncodedShard] = OrderedDict()
        self._lock = threading.Lock()
        self._cache: Cache | None = None
        self._ahead = Ahead(self._decode_ahead)
        try:
            if budget != 0:
                self._cache = Cache(cache, [self.form.name(shard) for shard in self.shards], budget)
                weakref.finalize(self, self._cache.close)
        except OSError as error:
            self._give_up(error, str(cache))

    def close(self) -> None:
        """Lets the cache evict these shards; what is opened later is decoded on the fly."""
        with self._lock:
            if self._cache is not None:
                self._cache.close()
                self._cache = None
        self._ahead.close()

    def note(self, shard: int, broken: dict[int, str]) -> None:
        """Counts broken samples of a shard, by number."""
        if broken:
            keys = self._index(shard).keys
            path = self.prepared.folder / self.shards[shard].name
            self._broken.add(path, {keys[row]: cause for row, cause in sorted(broken.items())})

    def get(self, shards: Sequence[int]) -> dict[int, DecodedShard | EncodedShard]:
        """The shards, each decoded in the cache or ready to be decoded."""
        with self._lock:
            new = [shard for shard in shards if shard not in self._open]
            missing = [shard for shard in new if not self._or_lost(shard, self._find)]
            if missing:
                self._fill(missing)
            elif new:
                self._want([], new[-1])
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
        self.note(shard, found.broken)
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

            busy = []
            for number, shard in enumerate(shards, 1):
                begun = functools.partial(self._want, shards[number:], shards[-1])
                decoded = functools.partial(self._decoded, advance=advance, begun=begun, wait=False)
                if not self._or_lost(shard, decoded):
                    busy.append(shard)
            self._want([], shards[-1])
            for shard in busy:
                decoded = functools.partial(self._decoded, advance=advance, begun=lambda: None, wait=True)
                self._or_lost(shard, decoded)

    def _want(self, others: Sequence[int], last: int) -> None:
        """Has the next two of the others, and of the shards behind the last one, decoded into the cache meanwhile."""
        if self._cache is None or self._team.threads < 2 or self.prepared.mirror is not None:
            return
        if self.large or self._team.helped:
            next_ones = range(last + 1, min(last + 1 + _NEAR, len(self.shards)))
            missing = filter(functools.partial(self._missing, self._cache), next_ones)
            self._ahead.want(itertools.islice(itertools.chain(others, missing), _AHEAD))

    def _missing(self, cache: Cache, shard: int) -> bool:
        """Whether nobody has a shard in the cache, as far as a look says."""
        return shard not in self._open and not cache.path(self.form.name(self.shards[shard])).exists()

    def _decode_ahead(self, shard: int, begun: Callable[[], None]) -> None:
        """Decodes a shard into the cache, as another process would."""
        cache = self._cache
        if cache is None or not self._missing(cache, shard):
            return

        def advance(samples: int) -> None:
            if self._cache is not cache:  # closed meanwhile
                raise InterruptedError
            self.progress += samples

        with contextlib.suppress(DataError, OSError, RuntimeError):  # comes again when the shard is asked for
            claim = cache.claim(self.form.name(self.shards[shard]), self._bytes(shard))
            if isinstance(claim, Claim):
                self._write(claim, shard, advance, begun)

    def _decoded(self, shard: int, advance: Callable[[int], None], begun: Callable[[], None], *, wait: bool) -> bool:
        """Opens one shard, decoding it into the cache if there is room; False: another process is at it."""
        while self._cache is not None:
            try:
                claim = self._cache.claim(self.form.name(self.shards[shard]), self._bytes(shard), wait=wait)
                if isinstance(claim, Claim):
                    self._write(claim, shard, advance, begun)
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

    def _write(self, claim: Claim, shard: int, advance: Callable[[int], None], begun: Callable[[], None]) -> None:
        whole = False
        try:
            encoded = self._encoded(shard)
            self.note(shard, write_decoded(claim, encoded, self.form, advance, begun, self._team, much=self.large))
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
                budget = f"; {over.what}" if self._broken.limit else ""
                raise DataError(f"{error.what}{budget}", error.where, error.do) from error
            self._open[shard] = DecodedShard.lost(self.form, info.samples, error.what)
            return True

    def _encoded(self, shard: int) -> EncodedShard:
        info = self.shards[shard]
        encoded = EncodedShard(self.prepared.local(info), self.form.clip, self.form.layout, self.form.targets)
        if len(encoded) != info.samples:
            raise another_count(encoded.shard.path, len(encoded), info.samples)
        return encoded

    def _bytes(self, shard: int) -> int:
        """Bytes of the decoded file, but for what it says of broken samples."""
        return self.form.starts(int(self.counts[shard]))[-1]

    def _give_up(self, error: OSError, where: str) -> None:
        """Goes on without the cache."""
        cause = "the disk is full" if is_full(error) else error.strerror or str(error)
        echo(f"{where}: {cause}; shards that are not decoded yet are decoded again each time they are read")
        if self._cache is not None:
            self._cache.close()
        self._cache = None


def another_count(path: Path, found: int, said: int) -> DataError:
    """The error of a shard that holds another number of samples than `dataset.json` says."""
    return DataError(f"the shard has {found} samples, dataset.json says {said}", str(path), PREPARE_AGAIN)
