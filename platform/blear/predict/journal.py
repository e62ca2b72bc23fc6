"""The file that predictions are written to while they are made; a later call continues after the last whole input."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from blear.errors import RunError

_HEAD, _END = "settings", "input_end"


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
        head = json.dumps({_HEAD: settings}, sort_keys=True)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            end = self._read(head)
            self._file = self.path.open("r+b" if end else "wb")
            self._file.truncate(end)
            self._file.seek(end)
        except OSError as error:
            raise RunError(f"cannot be written: {error.strerror}", str(out), "choose another --out") from error
        if not end:
            self._write(head)

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes one record."""
        self._write(json.dumps(record, ensure_ascii=False))

    def flush(self) -> None:
        """Makes the records visible to readers of the file."""
        self._file.flush()

    def finish_input(self, name: str, facts: dict[str, Any]) -> None:
        """Records that all records of an input are written, and writes them to the disk."""
        self._write(json.dumps({_END: name, "facts": facts}, ensure_ascii=False))
        self._file.flush()
        self.finished[name] = facts

    def records(self) -> Iterator[dict[str, Any]]:
        """Yields all records."""
        self._file.flush()
        with self.path.open("rb") as lines:
            for line in lines:
                record = json.loads(line)
                if _HEAD not in record and _END not in record:
                    yield record

    def delete(self) -> None:
        """Deletes the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def _write(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")

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
                    end = position
        return end
