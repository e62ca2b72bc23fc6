"""Broken samples are left out, reported by cause, and limited by the job's `max_broken`."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from blear.errors import DataError
from blear.progress import echo

_NAMED = 5


class TooManyBroken(DataError):
    """More samples are broken than the job allows."""


class BrokenSamples:
    """The broken samples that a store has found. Thread-safe.

    Args:
        limit: how many samples may be broken.
        split: name of the split, for log messages.
        where: location of the split, for the error.
    """

    def __init__(self, limit: int, split: str, where: str) -> None:
        self.limit, self.split, self.where = limit, split, where
        self._causes: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def add(self, shard: Path, causes: Mapping[str, str]) -> None:
        """Adds broken samples of a shard, key -> cause, and logs the new ones.

        Raises:
            TooManyBroken: more samples are broken than the limit allows.
        """
        with self._lock:
            new = {key: cause for key, cause in causes.items() if (str(shard), key) not in self._causes}
            self._causes |= {(str(shard), key): cause for key, cause in new.items()}
            found = self.found()
        if len(found) > self.limit:
            do = "delete the named shards and run `blear prepare` again, or raise max_broken"
            raise TooManyBroken(f"more than {self.limit} broken samples: {_summary(found)}", self.where, do)
        if new:
            _log_once(f"{self.split}: left out {_summary([(str(shard), key, cause) for key, cause in new.items()])}")

    def found(self) -> list[tuple[str, str, str]]:
        """(shard, key, cause) of each broken sample, in the order in which they were found."""
        return [(shard, key, cause) for (shard, key), cause in list(self._causes.items())]


def _summary(broken: Sequence[tuple[str, str, str]]) -> str:
    """Formats the number of samples of each cause, and the names of the first few samples."""
    causes = Counter(cause for _, _, cause in broken)
    counts = "; ".join(f"{count} x {cause}" for cause, count in causes.most_common())
    names = ", ".join(f"{Path(shard).name} {key}" for shard, key, _ in broken[:_NAMED])
    return f"{counts} ({names}{', ...' if len(broken) > _NAMED else ''})"


@functools.lru_cache(maxsize=64)
def _log_once(text: str) -> None:
    """Logs a line once in a process."""
    echo(text)
