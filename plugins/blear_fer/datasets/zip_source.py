"""FER2013 as the zip mirror: `faces.zip`, one lossless picture a row, and `labels.csv` (columns file, usage, label)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from blear.errors import DataError
from blear_fer.datasets.csv_rows import csv_rows
from blear_fer.datasets.face_source import (
    Face,
    decode,
    find_columns,
    parse_block,
    parse_label,
    parse_usage,
    split_rows,
)

_NEEDED = ("file", "usage", "label")
_DAMAGE = (BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError)
"""Errors of zipfile about damaged bytes: data, offsets, compression method, or the mark of an encrypted file."""


class ZipSource:
    """Reader of the zip mirror. The row number is the index in `labels.csv`."""

    ordered = True

    def __init__(self, folder: Path) -> None:
        self._zip, self._table = folder / "faces.zip", folder / "labels.csv"

    def usages(self) -> np.ndarray:
        """See `Source`."""
        return np.array([usage for _, usage, _ in self._rows], dtype=np.uint8)

    def blocks(self, usages: Sequence[int]) -> list[str]:
        """Names `<first row>-<last row>`."""
        blocks = split_rows(np.flatnonzero(np.isin(self.usages(), usages)))
        return [f"{rows[0]:07d}-{rows[-1]:07d}" for rows in blocks]

    def read(self, usages: Sequence[int], block: str) -> Iterator[Face]:
        """See `Source`."""
        first, last = parse_block(block, self._table, 2)
        where = str(self._zip)
        try:
            with ZipFile(self._zip) as pictures:
                for row, (name, its_usage, label) in enumerate(self._rows[first : last + 1], start=first):
                    if its_usage in usages:
                        where = f"{self._zip}, {name} (row {row})"
                        yield Face(decode(pictures.read(name), where), label, f"fer{row:07d}", row, where)
        except KeyError as error:
            what = f"a picture listed in {self._table.name} is missing: {error.args[0]}"
            raise DataError(what, str(self._zip), "fetch both files again, from the same place") from None
        except _DAMAGE as error:
            raise DataError(f"the archive cannot be read: {error}", where, "fetch it again") from error

    @cached_property
    def _rows(self) -> list[tuple[str, int, int]]:
        table = csv_rows(self._table, "labels.csv must come with faces.zip")
        columns = find_columns(next(table, []), _NEEDED)
        missing = [name for name in _NEEDED if name not in columns]
        if missing:
            what = f"the header has no column {', '.join(missing)}"
            raise DataError(what, str(self._table), "labels.csv must come with faces.zip")
        rows = []
        for row, line in enumerate(table):
            where = f"{self._table}, row {row}"
            if len(line) <= max(columns.values()):
                raise DataError(f"{len(line)} columns", where, "the file may be cut off: fetch it again")
            name, usage, label = (line[columns[column]] for column in _NEEDED)
            rows.append((name, parse_usage(usage, where), parse_label(label, where)))
        return rows
