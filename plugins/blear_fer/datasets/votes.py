"""FERPlus votes: ten annotators for each row of FER2013 (Barsoum et al., ICMI 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blear.errors import DataError
from blear_emotions.labels import FERPLUS, FERPLUS_CLASSES
from blear_fer.datasets.csv_rows import csv_rows
from blear_fer.datasets.face_source import find_columns, parse_usage


@dataclass(frozen=True)
class Votes:
    """Votes of all rows.

    Attributes:
        usages_N: usage of each row, uint8 [N], indices into `USAGES`.
        counts_NV: votes of each row, int64 [N, 10], columns in the order of `labels.FERPLUS`.
    """

    usages_N: np.ndarray
    counts_NV: np.ndarray


def read_votes(path: Path) -> Votes:
    """Reads `fer2013new.csv`, or a `labels.csv` with vote columns `ferplus_<class>`.

    The column `Image name` is ignored: its number differs from the row number, and it is empty for unusable rows.

    Raises:
        DataError: missing file or columns, unknown usage, or votes that are not integers.
    """
    lines = csv_rows(path, "set `votes` to FERPlus's fer2013new.csv")
    header = [name.strip() for name in next(lines, [])]
    columns, usage_column = _columns(header, path)
    usages, counts = [], []
    for row, line in enumerate(lines):
        where = f"{path}, row {row}"
        if len(line) != len(header):
            raise DataError(f"{len(line)} columns instead of {len(header)}", where, "fetch the file again")
        usages.append(parse_usage(line[usage_column], where))
        votes = [line[column] for column in columns]
        if not all(vote.isdecimal() for vote in votes):
            raise DataError(f"votes {votes} are not all whole numbers", where, "fetch the file again")
        counts.append([int(vote) for vote in votes])
    counts_NV = np.array(counts, dtype=np.int64).reshape(len(counts), len(FERPLUS.names))
    return Votes(np.array(usages, dtype=np.uint8), counts_NV)


def majority(counts_NV: np.ndarray) -> np.ndarray:
    """Returns the majority class of each row, int64 [N], indices into `FERPLUS_CLASSES`; -1 without a clear majority.

    As in the authors' code: a count of 1 is set to 0. The majority class needs more than half of the remaining votes,
    and must be neither "unknown" nor "NF" (not a face).
    """
    cleaned_NV = np.where(counts_NV <= 1, 0, counts_NV)
    winner_N = cleaned_NV.argmax(axis=1)
    clear_N = 2 * cleaned_NV.max(axis=1) > cleaned_NV.sum(axis=1)
    return np.where(clear_N & (winner_N < len(FERPLUS_CLASSES)), winner_N, -1)


def _columns(header: list[str], path: Path) -> tuple[list[int], int]:
    for prefix, usage in (("", "Usage"), ("ferplus_", "usage")):
        names = [prefix + name for name in FERPLUS.names]
        columns = find_columns(header, [usage, *names])
        if len(columns) == len(names) + 1:
            return [columns[name] for name in names], columns[usage]
    what = f"the header lacks Usage or one of the vote columns {', '.join(FERPLUS.names)}"
    raise DataError(what, str(path), "set `votes` to FERPlus's fer2013new.csv")
