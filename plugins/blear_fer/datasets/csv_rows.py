"""Reads a small csv file row by row; damaged files are errors with their line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from blear.errors import DataError


def csv_rows(path: Path, do: str) -> Iterator[list[str]]:
    """Yields the fields of each row, the header first. Empty rows are left out.

    Args:
        path: a file in UTF-8.
        do: advice for a file that cannot be opened.

    Raises:
        DataError: the file cannot be opened, is not UTF-8, or is not csv.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", str(path), do) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"is no text in UTF-8: {error.reason}", f"{path}, line {line}", "fetch it again") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        yield from (row for row in reader if row)
    except csv.Error as error:
        raise DataError(f"is no csv file: {error}", f"{path}, line {reader.line_num}", "fetch it again") from error
