"""Readers of AVEC 2016's text files: frame times (`;` csv), gold standard (arff), face boxes (csv)."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from blear.errors import DataError

BOX_COLUMNS = ("time", "left", "top", "width", "height")
_ROUNDING = 1e-6  # seconds: rounding error of parsed times, for a difference of exactly the tolerance


def read_frame_times(path: Path) -> np.ndarray:
    """Reads the time of each video frame in seconds [N]: column 2 of a `;`-separated file with one header line.

    Raises:
        DataError: the header or a row is missing, or rows are out of order. The labels of all later frames would shift.
    """
    lines = _lines(path)
    if lines and _is_time(lines[0][1].partition(";")[2].partition(";")[0]):
        raise DataError(
            "the first line is a frame's time, not a header",
            f"{path}:{lines[0][0]}",
            "restore the original file, or add the line frame;time if no row is lost",
        )
    rows = [(n, line.split(";")) for n, line in lines[1:]]
    for n, fields in rows:
        if len(fields) < 2:
            raise DataError(
                "has one column where column 2 must be the frame's time", f"{path}:{n}", "separate columns by ';'"
            )
    times = _numbers(path, ((n, fields[1:2]) for n, fields in rows), 1)[:, 0]
    _require_order(path, [n for n, _ in rows], [fields[0].strip() for _, fields in rows], times)
    return times


def _require_order(path: Path, lines: list[int], indices: list[str], times_N: np.ndarray) -> None:
    """Checks that times increase and that column 1 counts the frames, where it has whole numbers only."""
    late = np.flatnonzero(np.diff(times_N) <= 0)
    if len(late):
        k = int(late[0]) + 1
        raise DataError(
            f"time {times_N[k]:g} s follows {times_N[k - 1]:g} s: times of frames must increase",
            f"{path}:{lines[k]}",
            "restore the original file",
        )
    if not all(re.fullmatch(r"[0-9]{1,15}", index) for index in indices):
        return
    frames = [int(index) for index in indices]
    for k, (first, second) in enumerate(pairwise(frames), start=1):
        if second != first + 1:
            raise DataError(
                f"frame {second} follows frame {first}: rows are lost or repeated",
                f"{path}:{lines[k]}",
                "restore the original file",
            )
    if frames[0] > 1:
        raise DataError(
            f"the first row is frame {frames[0]}: rows before it are lost", f"{path}:{lines[0]}", "restore the file"
        )


def read_gold_standard(path: Path) -> np.ndarray:
    """Reads (time in seconds, value) of each row [N, 2]: the last two fields of every line after `@data`."""
    lines = _lines(path)
    starts = [i for i, (_, line) in enumerate(lines) if line.lower().startswith("@data")]
    if not starts:
        raise DataError("has no line @data", str(path), "use the arff file as distributed in ratings_gold_standard")
    rows = [(n, line.split(",")) for n, line in lines[starts[0] + 1 :]]
    for n, fields in rows:
        if len(fields) < 2:
            raise DataError(
                "needs a time and a value, separated by a comma", f"{path}:{n}", "restore the original file"
            )
    return _numbers(path, ((n, fields[-2:]) for n, fields in rows), 2)


def read_boxes(path: Path) -> np.ndarray:
    """Reads (time, left, top, width, height) of each row [N, 5] by column names. Pixels from 1; zeros mean no face."""
    lines = _lines(path)
    header = [name.strip() for name in _fields(path, *lines[0])] if lines else []
    missing = [name for name in BOX_COLUMNS if name not in header]
    if missing:
        raise DataError(
            f"lacks the columns: {', '.join(missing)}", f"{path}:1", f"the header must name {','.join(BOX_COLUMNS)}"
        )
    columns = [header.index(name) for name in BOX_COLUMNS]
    rows = ((n, _fields(path, n, line)) for n, line in lines[1:])
    return _numbers(path, ((n, [row[c] for c in columns if c < len(row)]) for n, row in rows), len(BOX_COLUMNS))


def nearest_rows(times_N: np.ndarray, wanted_M: np.ndarray, tolerance: float) -> np.ndarray:
    """Returns the index of the row nearest in time to each wanted time [M]; -1 beyond `tolerance` seconds."""
    order = np.argsort(times_N, kind="stable")
    times = np.concatenate([[-np.inf], times_N[order], [np.inf]])
    after = np.searchsorted(times[1:-1], wanted_M) + 1
    pick = np.where(wanted_M - times[after - 1] <= times[after] - wanted_M, after - 1, after)
    found = np.abs(times[pick] - wanted_M) <= tolerance + _ROUNDING
    rows = np.full(len(wanted_M), -1)
    rows[found] = order[pick[found] - 1]
    return rows


def _lines(path: Path) -> list[tuple[int, str]]:
    """Returns (line number, text) of each line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", str(path), "restore the original file") from error
    return [(n, line.strip()) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _fields(path: Path, number: int, line: str) -> list[str]:
    """Returns the fields of one line of a csv file."""
    try:
        return next(csv.reader([line]), [])
    except csv.Error as error:  # a field of more than 128 kB
        raise DataError(f"is no row of a csv file: {error}", f"{path}:{number}", "restore the original file") from error


def _is_time(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _numbers(path: Path, rows: Iterable[tuple[int, list[str]]], columns: int) -> np.ndarray:
    table = []
    for n, fields in rows:
        try:
            values = [float(field) for field in fields]
        except ValueError:
            values = []
        if len(values) != columns or not np.isfinite(values).all():
            found = ",".join(fields)
            raise DataError(
                f"needs {columns} finite numbers, found {found!r}", f"{path}:{n}", "restore the original file"
            )
        table.append(values)
    if not table:
        raise DataError("has no rows of data", str(path), "restore the original file")
    return np.array(table, dtype=np.float64)
