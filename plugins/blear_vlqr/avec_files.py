"""Readers of AVEC 2016's text files: frame times (`;` csv), gold standard (arff), face boxes (csv)."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from blear.errors import DataError

BOX_COLUMNS = ("time", "left", "top", "width", "height")
_ROUNDING = 1e-6  # seconds: rounding error of parsed times, for a difference of exactly the tolerance


def read_frame_times(path: Path) -> np.ndarray:
    """Reads the time of each video frame in seconds [N]: column 2 of a `;`-separated file with one header line."""
    rows = [(n, line.split(";")) for n, line in _lines(path)[1:]]
    for n, fields in rows:
        if len(fields) < 2:
            raise DataError(
                "has one column where column 2 must be the frame's time", f"{path}:{n}", "separate columns by ';'"
            )
    return _numbers(path, ((n, fields[1:2]) for n, fields in rows), 1)[:, 0]


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
    header = [name.strip() for name in next(csv.reader([lines[0][1]]))] if lines else []
    missing = [name for name in BOX_COLUMNS if name not in header]
    if missing:
        raise DataError(
            f"lacks the columns: {', '.join(missing)}", f"{path}:1", f"the header must name {','.join(BOX_COLUMNS)}"
        )
    columns = [header.index(name) for name in BOX_COLUMNS]
    rows = ((n, next(csv.reader([line]))) for n, line in lines[1:])
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
