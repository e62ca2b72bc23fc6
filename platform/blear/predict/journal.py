"""The file that predictions are written to while they are made; a later call continues after the last whole input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from blear.errors import RunError

_HEAD, _END = "settings", "input_end"


def record_line(record: Mapping[str, Any]) -> str:
    """A record as one line of JSON, without a line break."""
    return json.dumps(record, ensure_ascii=False)


class Journal:
    """Appends records to `.NAME.partial` beside the output NAME, one JSON object a line.

    Args:
        out: the output file that the predictions will be in.
        settings: everything that the predictions depend on; those of other settings are deleted.

    Attributes:
        finished: input -> facts, of the inputs whose records are complete.

    Raises:
        RunError: the file cannot be written.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self.path = out.with_name(f".{out.name}.partial")
        self.finished: dict[str, dict[str, Any]] = {}
        self._spans: dict[str, tuple[int, int]] = {}  # input -> first and last byte of its records
        head = json.dumps({_HEAD: settings}, sort_keys=True)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            end = self._read(head)
            self._file = self.path.open("r+b" if end else "wb")
            self._file.truncate(end)
            self._file.seek(end)
        except OSError as error:
            raise RunError(f"cannot be written: {error.strerror}", str(out), "choose another --out") from error
        self._position = end
        if not end:
            self._write(head)
        self._start = self._position  # of the records of the next input

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes one record."""
        self._write(record_line(record))

    def append_lines(self, lines: bytes) -> None:
        """Writes records that are lines of `record_line`, each with a line break."""
        self._position += self._file.write(lines)

    def flush(self) -> None:
        """Makes the records visible to readers of the file."""
        self._file.flush()

    def finish_input(self, name: str, facts: dict[str, Any]) -> None:
        """Records that all records of an input are written, and writes them to the disk."""
        span = self._start, self._position
        self._write(json.dumps({_END: name, "facts": facts}, ensure_ascii=False))
        self._file.flush()
        self.finished[name], self._spans[name], self._start = facts, span, self._position

    def records(self, names: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Yields the records of finished inputs, in the order of the names."""
        self._file.flush()
        with self.path.open("rb") as lines:
            for name in names:
                position, end = self._spans[name]
                lines.seek(position)
                while position < end:
                    line = lines.readline()
                    position += len(line)
                    yield json.loads(line)

    def delete(self) -> None:
        """Deletes the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def _write(self, line: str) -> None:
        self._position += self._file.write(line.encode() + b"\n")

    def _read(self, head: str) -> int:
        """Reads an older file; gives the position behind its last whole input, 0 where there is none."""
        end = position = 0
        if not self.path.is_file():
            return 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines):
                position += len(line)
                if number == 0:
                    if line.decode().rstrip("\n") != head:
                        return 0
                    end = position
                elif line.startswith(f'{{"{_END}":'.encode()) and line.endswith(b"\n"):
                    record = json.loads(line)
                    self.finished[record[_END]] = record["facts"]
                    self._spans[record[_END]] = end, position - len(line)
                    end = position
        return end
