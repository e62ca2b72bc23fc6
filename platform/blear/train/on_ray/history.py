"""The history of a stage on a cluster: one event a line in history.log, printed by the driver as events occur."""

from __future__ import annotations

import contextlib
import datetime
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from blear.progress import echo

_POLL_EVERY_S = 1.0
_WIDTH = 20


class LastStepFile:
    """File `reached` in a stage's folder: the last finished step, also after the process was killed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / "reached", os.O_CREAT | os.O_WRONLY)

    def write(self, step: int) -> None:
        """Takes 2 microseconds, without fsync, because every step calls it."""
        with contextlib.suppress(OSError):  # only a line of the history depends on it
            os.pwrite(self._file, b"%*d\n" % (_WIDTH, step), 0)


def read_last_step(folder: Path) -> int:
    """The last finished step of a stage; 0 before the first."""
    try:
        return int((folder / "reached").read_text())
    except (OSError, ValueError):
        return 0


def append_history(folder: Path, text: str) -> None:
    """Appends an event, with its time, to history.log of a stage's folder."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with contextlib.suppress(OSError):  # a full disk must not end a run here
        folder.mkdir(parents=True, exist_ok=True)  # where the nodes share no folder, a worker has its own
        with (folder / "history.log").open("a") as log:
            log.write(f"{now} {text}\n")


@contextlib.contextmanager
def print_history(folder: Path) -> Iterator[None]:
    """While the block runs, prints each event that is appended to history.log of a stage's folder."""
    path, done = folder / "history.log", threading.Event()
    start = path.stat().st_size if path.is_file() else 0

    def print_new(position: int) -> int:
        if not path.is_file():
            return position
        with path.open("rb") as log:
            log.seek(position)
            new = log.read()
        complete = new[: new.rfind(b"\n") + 1]
        for line in complete.decode().splitlines():
            echo(line.partition(" ")[2])
        return position + len(complete)

    def follow() -> None:
        position = start
        while not done.wait(_POLL_EVERY_S):
            position = print_new(position)
        print_new(position)

    thread = threading.Thread(target=follow, name="blear-history", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
