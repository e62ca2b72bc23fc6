"""Samples that are left out: counted by cause, within the budget that the job sets."""

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
    """The broken samples that a store has met; thread-safe.

    Args:
        most: how many may be left out.
        split: how the split is called in what is said.
        where: where it lies, for the error.
    """

    def __init__(self, most: int, split: str, where: str) -> None:
        self.most, self.split, self.where = most, split, where
        self._causes: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def add(self, shard: Path, causes: Mapping[str, str]) -> None:
        """Counts samples of a shard by key; says those that are new.

        Raises:
            TooManyBroken: there are more than the budget allows.
        """
        with self._lock:
            new = {key: cause for key, cause in causes.items() if (str(shard), key) not in self._causes}
            self._causes |= {(str(shard), key): cause for key, cause in new.items()}
            found = self.found()
        if len(found) > self.most:
            do = "delete the named shards and run `blear prepare` again, or raise max_broken"
            raise TooManyBroken(f"more than {self.most} broken samples: {_summary(found)}", self.where, do)
        if new:
            _say_once(f"{self.split}: left out {_summary([(str(shard), key, cause) for key, cause in new.items()])}")

    def found(self) -> list[tuple[str, str, str]]:
        """(shard, key, cause) of each, in the order in which they were met."""
        return [(shard, key, cause) for (shard, key), cause in list(self._causes.items())]


def _summary(broken: Sequence[tuple[str, str, str]]) -> str:
    """Counts by cause, then the first few by name."""
    causes = Counter(cause for _, _, cause in broken)
    counts = "; ".join(f"{count} x {cause}" for cause, count in causes.most_common())
    names = ", ".join(f"{Path(shard).name} {key}" for shard, key, _ in broken[:_NAMED])
    return f"{counts} ({names}{', ...' if len(broken) > _NAMED else ''})"


@functools.lru_cache(maxsize=64)
def _say_once(text: str) -> None:
    """Says a line once in a process."""
    echo(text)
