"""Progress of long tasks: a progress bar in a terminal, plain lines elsewhere. All output goes to stderr."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False, emoji=False)  # with emoji, `job.yaml:100:5` has one
_LINE_EVERY_S = 10.0
_log = logging.getLogger(__name__)


class ProgressBar(Protocol):
    """The progress bar of one task."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Adds `amount` completed units. `note` is shown behind the bar, for instance a loss or a file name."""
        ...


class _Lines:
    def __init__(self, what: str, total: int, done: int, every: float) -> None:
        self.what, self.total, self.done, self.note, self.every = what, total, done, "", every
        self.printed = -1
        self.started = self.last = time.monotonic()

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done, self.note = self.done + amount, note or self.note
        if time.monotonic() - self.last >= self.every:
            self.line()

    def line(self) -> None:
        self.last, self.printed = time.monotonic(), self.done
        seconds = self.last - self.started
        sys.stderr.write(
            f"{self.what}: {self.done}/{self.total}, {seconds:.0f} s{'  ' if self.note else ''}{self.note}\n"
        )
        sys.stderr.flush()


class _Bar:
    def __init__(self, bar: Progress, what: str, total: int, done: int) -> None:
        self.bar, self.task = bar, bar.add_task(what, total=total, completed=done, note="")

    def advance(self, amount: int = 1, note: str = "") -> None:
        if note:
            self.bar.update(self.task, note=note)
        self.bar.advance(self.task, amount)


@contextmanager
def track(what: str, total: int, done: int = 0, every: float = _LINE_EVERY_S) -> Iterator[ProgressBar]:
    """Shows the progress of a task until the block ends.

    Args:
        what: name of the task.
        total: units of the whole task.
        done: units that an earlier run completed.
        every: seconds between two lines where stderr is not a terminal.
    """
    if console.is_terminal:
        what_column, note_column = (
            TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}")
        )
        columns = (what_column, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, note_column, console=console) as bar:
            yield _Bar(bar, what, total, done)
        return
    lines = _Lines(what, total, done, every)
    yield lines
    if lines.printed != lines.done:
        lines.line()


def echo(text: str) -> None:
    """Prints one line to stderr, above the progress bars, and logs it."""
    console.print(text, markup=False, soft_wrap=True)
    _log.info(text)


def duration(seconds: float | None) -> str:
    """Formats seconds: 12.3 s, 4 min 10 s, 2 h 5 min; None is "unknown"."""
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
