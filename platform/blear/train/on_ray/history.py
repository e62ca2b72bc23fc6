"""What happened to a stage on a cluster, one sentence a line in history.log; the driver says each as it comes."""

from __future__ import annotations

import contextlib
import datetime
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from blear.progress import echo

_LOOK_EVERY_S = 1.0
_WIDTH = 20


class Reached:
    """The last step that was done, in a file of one line: what a killed worker leaves of where it was."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / "reached", os.O_CREAT | os.O_WRONLY)

    def set(self, step: int) -> None:
        """Two microseconds, no fsync: called at every step."""
        with contextlib.suppress(OSError):  # only a sentence in the log depends on it
            os.pwrite(self._file, b"%*d\n" % (_WIDTH, step), 0)


def reached(folder: Path) -> int:
    """The last step that was done in a stage's folder; 0 if none was."""
    try:
        return int((folder / "reached").read_text())
    except (OSError, ValueError):
        return 0


def note(folder: Path, text: str) -> None:
    """Adds a sentence to history.log of a stage's folder."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with contextlib.suppress(OSError), (folder / "history.log").open("a") as log:  # a full disk must not end a run here
        log.write(f"{now} {text}\n")


@contextlib.contextmanager
def told(folder: Path) -> Iterator[None]:
    """While the block runs, says every sentence that is added to history.log of a stage's folder."""
    path, done = folder / "history.log", threading.Event()
    start = path.stat().st_size if path.is_file() else 0

    def tell(position: int) -> int:
        if not path.is_file():
            return position
        with path.open("rb") as log:
            log.seek(position)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        for line in whole.decode().splitlines():
            echo(line.partition(" ")[2])
        return position + len(whole)

    def follow() -> None:
        position = start
        while not done.wait(_LOOK_EVERY_S):
            position = tell(position)
        tell(position)

    thread = threading.Thread(target=follow, name="blear-history", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
