"""Progress of long work: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)
_LINE_EVERY_S = 10.0


class ProgressBar(Protocol):
    """Told how the work goes."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """`amount` more is done; `note` is shown behind the bar (a loss, a file name)."""
        ...


class _Lines:
    def __init__(self, what: str, total: int, done: int, every: float) -> None:
        self.what, self.total, self.done, self.note, self.every = what, total, done, "", every
        self.told = -1
        self.started = self.last = time.monotonic()

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done, self.note = self.done + amount, note or self.note
        if time.monotonic() - self.last >= self.every:
            self.line()

    def line(self) -> None:
        self.last, self.told = time.monotonic(), self.done
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
    """Shows progress of `what` until the block ends; `done` of `total` were finished by an earlier run.

    Plain lines are at least `every` seconds apart.
    """
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console) as bar:
            yield _Bar(bar, what, total, done)
        return
    lines = _Lines(what, total, done, every)
    yield lines
    if lines.told != lines.done:
        lines.line()


def echo(text: str) -> None:
    """One line for the person who waits."""
    console.print(text, markup=False, soft_wrap=True)


def duration(seconds: float | None) -> str:
    """Seconds for a reader: 12.3 s, 4 min 10 s, 2 h 5 min."""
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
