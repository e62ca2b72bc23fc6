"""The file that predictions are written to while they are made; a later call continues it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from blear import __version__
from blear.errors import RunError
from blear.storage.run_folder import write_text

_HEAD, _INPUTS, _END, _VERSION = "settings", "inputs", "input_end", "version"


def record_line(record: Mapping[str, Any]) -> str:
    """A record as one line of JSON, without a line break."""
    return json.dumps(record, ensure_ascii=False)


def journal_inputs(out: Path) -> set[str] | None:
    """Names of the inputs of the command that last began to write an output and has not ended; None: there is none."""
    try:
        with _partial(out).open("rb") as lines:
            return set(json.loads(lines.readline())[_INPUTS])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):  # not even its first line is whole, or it is of an older version
        return set()


def _partial(out: Path, kind: str = "partial") -> Path:
    return out.with_name(f".{out.name}.{kind}")


class Journal:
    """Appends records to `.NAME.partial` beside the output NAME, one JSON object a line.

    One process at a time holds the file (`flock`).

    `save_state` writes a state inside an input to `.NAME.state`. A later call continues the input from this state.

    Args:
        out: the output file that the predictions will be in.
        settings: everything that the predictions depend on; those of other settings are deleted.
        inputs: names of the inputs, for `journal_inputs`; those of an earlier call with these settings stay.
        versions: the inputs in their order -> version of the file, see `file_version`. An input that was finished in
            another version begins again. The first one that is not finished continues from its state, if its version
            is that of the state.

    Attributes:
        finished: input -> facts, of the inputs whose records are complete.
        state: state of the input that continues, whose records until then are kept; None: no input does.

    Raises:
        RunError: the file cannot be written, or another command writes it now.
    """

    def __init__(
        self,
        out: Path,
        settings: Mapping[str, Any],
        versions: Mapping[str, list[int] | None] | None = None,
        inputs: Iterable[str] = (),
    ) -> None:
        self.path, self._state_path = _partial(out), _partial(out, "state")
        self.finished: dict[str, dict[str, Any]] = {}
        self._versions = versions or {}
        self._spans: dict[str, tuple[int, int]] = {}  # input -> first and last byte of its records
        head = json.dumps({_HEAD: settings}, sort_keys=True)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._file = _locked(self.path, out)
            whole = end = self._read(head)
            self._digest = hashlib.sha256(f"{__version__} {head}".encode()).hexdigest()
            saved = self._read_state(whole) if whole else None
            if saved is None:
                self._state_path.unlink(missing_ok=True)
            else:
                end = saved["position"]
            self.state: dict[str, Any] | None = None if saved is None else saved["state"]
            self._file.truncate(end)
            self._file.seek(end)
        except OSError as error:
            raise RunError(f"cannot be written: {error.strerror}", str(out), "choose another --out") from error
        self._position = end
        if not end:
            self._write(json.dumps({_INPUTS: list(inputs), _HEAD: settings}, sort_keys=True))
        self._start = whole or self._position  # of the records of the next input

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes one record."""
        self._write(record_line(record))

    def append_lines(self, lines: bytes) -> None:
        """Writes records that are lines of `record_line`, each with a line break."""
        self._position += self._file.write(lines)

    def flush(self) -> None:
        """Makes the records visible to readers of the file."""
        self._file.flush()

    def save_state(self, name: str, version: list[int], state: Mapping[str, Any]) -> None:
        """Writes the state of an input whose records have been appended until now.

        Args:
            version: size and time of the input's file.
        """
        self._file.flush()
        content = {"settings": self._digest, "position": self._position, "input": name, "version": version}
        write_text(self._state_path, json.dumps({**content, "state": state}))

    def finish_input(self, name: str, facts: dict[str, Any]) -> None:
        """Records that all records of an input are written, and writes them to the disk."""
        span = self._start, self._position
        self._write(record_line({_END: name, "facts": facts, _VERSION: self._versions.get(name)}))
        self._file.flush()
        self.finished[name], self._spans[name], self._start = facts, span, self._position
        self._state_path.unlink(missing_ok=True)

    def records(self, names: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Yields the records of finished inputs, in the order of the names."""
        yield from self._records([self._spans[name] for name in names])

    def kept_records(self) -> Iterator[dict[str, Any]]:
        """Yields the records of an earlier call: of finished inputs, and of the input that continues."""
        yield from self._records([*self._spans.values(), (self._start, self._position)])

    def _records(self, spans: Iterable[tuple[int, int]]) -> Iterator[dict[str, Any]]:
        self._file.flush()
        with self.path.open("rb") as lines:
            for position, end in spans:
                lines.seek(position)
                while position < end:
                    line = lines.readline()
                    position += len(line)
                    yield json.loads(line)

    def delete(self) -> None:
        """Deletes the files."""
        self._file.close()
        self._state_path.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def _write(self, line: str) -> None:
        self._position += self._file.write(line.encode() + b"\n")

    def _read_state(self, whole: int) -> dict[str, Any] | None:
        """The saved state of the first input that is not finished; None: there is none of this file and version."""
        try:
            saved = json.loads(self._state_path.read_text())
            fits = whole <= saved["position"] <= self.path.stat().st_size and saved["settings"] == self._digest
            name = next(name for name in self._versions if name not in self.finished)
        except (OSError, ValueError, TypeError, LookupError, StopIteration):
            return None
        return saved if fits and [name, self._versions[name]] == [saved["input"], saved["version"]] else None

    def _read(self, head: str) -> int:
        """Reads an older file; gives the position behind its last whole input, 0 where there is none."""
        end = position = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines):
                position += len(line)
                if number == 0:
                    if _settings(line) != head:
                        return 0
                    end = position
                elif line.startswith(f'{{"{_END}":'.encode()) and line.endswith(b"\n"):
                    self._read_end(json.loads(line), (end, position - len(line)))
                    end = position
        return end

    def _read_end(self, record: Mapping[str, Any], span: tuple[int, int]) -> None:
        """Reads the last line of an input; the input is not finished where its file has changed since."""
        name = record[_END]
        version = record.get(_VERSION, self._versions.get(name))  # journals of older versions do not state it
        if name in self._versions and version != self._versions[name]:
            self.finished.pop(name, None)
            self._spans.pop(name, None)
        else:
            self.finished[name], self._spans[name] = record["facts"], span


def _settings(line: bytes) -> str:
    """The settings in the first line of a journal as they are compared; empty where the line is damaged."""
    try:
        return json.dumps({_HEAD: json.loads(line)[_HEAD]}, sort_keys=True)
    except (ValueError, LookupError, TypeError):
        return ""


def _locked(path: Path, out: Path) -> BinaryIO:
    """Opens a journal, or creates it, and holds its lock.

    Raises:
        RunError: another process holds it.
    """
    while True:
        path.touch()
        file = path.open("r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError as error:
            file.close()
            raise RunError("another command writes it now", str(out), "wait for it, or choose another --out") from error
        except OSError:  # a file system without locks
            return file
        file.close()  # its holder has just deleted it
