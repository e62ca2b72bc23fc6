"""FER2013 as one csv: `fer2013.csv`, or the challenge's `icml_face_data.csv` (padded names, other column order).

The file has about 8 kB per line, 257 MB in all. One scan finds the byte offset and the usage of each row. The name of
a block contains its byte offset: another process can read the block without a scan.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from blear.errors import DataError
from blear_fer.datasets.face_source import (
    SECOND_TABLE,
    Face,
    find_columns,
    parse_block,
    parse_label,
    parse_usage,
    split_rows,
)
from blear_fer.datasets.protocols import ROWS, SIDE

_NEEDED = ("emotion", "pixels", "Usage")


class CsvSource:
    """Reader of the csv files. Columns are found by their names in the header."""

    ordered = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def usages(self) -> np.ndarray:
        """See `Source`."""
        return self._scan[0]

    def blocks(self, usages: Sequence[int]) -> list[str]:
        """Names `<first row>-<last row>-<byte offset of the first row>`."""
        usages_N, offsets_N = self._scan
        blocks = split_rows(np.flatnonzero(np.isin(usages_N, usages)))
        return [f"{rows[0]:07d}-{rows[-1]:07d}-{offsets_N[rows[0]]}" for rows in blocks]

    def read(self, usages: Sequence[int], block: str) -> Iterator[Face]:
        """See `Source`."""
        first, last, offset = parse_block(block, self._path, 3)
        with self._open() as file:
            columns, count = self._columns(file)
            file.seek(offset)
            for row in range(first, last + 1):
                fields = self._fields(file.readline(), row, count)
                where = self._where(row)
                if parse_usage(fields[columns["Usage"]], where) in usages:
                    pixels_HW = _pixels(fields[columns["pixels"]], where)
                    label = parse_label(fields[columns["emotion"]], where)
                    yield Face(pixels_HW, label, f"fer{row:07d}", row, where)

    @cached_property
    def _scan(self) -> tuple[np.ndarray, np.ndarray]:
        usages: list[int] = []
        offsets: list[int] = []
        with self._open() as file:
            columns, count = self._columns(file)
            offset, ended = file.tell(), False
            for line in file:
                if line.strip():
                    row = len(usages)
                    if ended or row == ROWS:
                        what = "rows follow a blank line" if ended else f"FER2013 has {ROWS} rows, and this is one more"
                        raise DataError(f"{what}: a second table begins here", self._where(row), SECOND_TABLE)
                    fields = self._fields(line, row, count)
                    usages.append(parse_usage(fields[columns["Usage"]], self._where(row)))
                    offsets.append(offset)
                else:
                    ended = bool(usages)  # many copies of the file end with blank lines
                offset += len(line)
        return np.array(usages, dtype=np.uint8), np.array(offsets, dtype=np.int64)

    def _open(self) -> BinaryIO:
        try:
            return self._path.open("rb")
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})", str(self._path), "check `source`") from error

    def _columns(self, file: BinaryIO) -> tuple[dict[str, int], int]:
        """Reads the header. Returns name -> index of the needed columns, and the number of all columns."""
        header = _split(file.readline(4096).decode("utf-8-sig", errors="replace"))
        columns = find_columns(header, _NEEDED)
        missing = [name for name in _NEEDED if name not in columns]
        if missing:
            what = f"the header has no column {', '.join(missing)}"
            raise DataError(
                what, str(self._path), "use fer2013.csv or icml_face_data.csv, which hold all three columns"
            )
        return columns, len(header)

    def _fields(self, line: bytes, row: int, count: int) -> list[str]:
        fields = _split(line.decode("latin-1"))
        if len(fields) != count:
            what = f"{len(fields)} columns instead of {count}"
            raise DataError(what, self._where(row), "the file may be cut off: fetch it again")
        return fields

    def _where(self, row: int) -> str:
        return f"{self._path}, row {row}"


def _split(line: str) -> list[str]:
    """Splits one line of a csv file into fields without quotes and outer spaces. A quoted field may contain commas."""
    try:
        return [field.strip() for field in next(csv.reader([line], skipinitialspace=True), [])]
    except csv.Error:  # a field of more than 128 kB
        return []


def _pixels(text: str, where: str) -> np.ndarray:
    values = text.split()
    if len(values) != SIDE * SIDE:
        what = f"{len(values)} pixels instead of {SIDE * SIDE}"
        raise DataError(what, where, "the file may be cut off or edited: fetch it again")
    try:
        return np.frombuffer(bytes(map(int, values)), dtype=np.uint8).reshape(SIDE, SIDE)
    except ValueError:  # not an integer, or not in 0..255
        bad = next(value for value in values if not value.isdecimal() or int(value) > 255)
        do = "the file is damaged: fetch it again"
        raise DataError(f"pixel {bad!r} is not a whole number from 0 to 255", where, do) from None
