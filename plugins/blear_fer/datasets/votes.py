"""FERPlus votes: ten crowd taggers for each row of FER2013 (Barsoum et al., ICMI 2016)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blear.errors import DataError
from blear_emotions.labels import FERPLUS, FERPLUS_CLASSES
from blear_fer.datasets.face_source import parse_usage


@dataclass(frozen=True)
class Votes:
    """Usage of each row, uint8 [N] into `USAGES`, and its votes, int64 [N, 10] in the order of `FERPLUS`."""

    usages_N: np.ndarray
    counts_NV: np.ndarray


def read_votes(path: Path) -> Votes:
    """Reads `fer2013new.csv`, or a `labels.csv` whose vote columns are called `ferplus_...`.

    `Image name` is not read: its number lags behind the row number, and it is empty for unusable rows.

    Raises:
        DataError: no such file, missing columns, an unknown usage, votes that are not whole numbers.
    """
    try:
        file = path.open(newline="", encoding="utf-8-sig")
    except OSError as error:
        do = "set `votes` to FERPlus's fer2013new.csv"
        raise DataError(f"the votes cannot be read ({error.strerror})", str(path), do) from error
    with file:
        lines = csv.reader(file)
        header = [name.strip() for name in next(lines, [])]
        columns, usage_column = _columns(header, path)
        usages, counts = [], []
        for row, line in enumerate(line for line in lines if line):
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
    """Class of each row in `FERPLUS_CLASSES`, int64 [N]; -1 where none can be given.

    As in the authors' code: single votes are noise and set to 0; the winner needs more than half of what is left, and
    must be neither "unknown" nor "NF".
    """
    cleaned_NV = np.where(counts_NV <= 1, 0, counts_NV)
    winner_N = cleaned_NV.argmax(axis=1)
    clear_N = 2 * cleaned_NV.max(axis=1) > cleaned_NV.sum(axis=1)
    return np.where(clear_N & (winner_N < len(FERPLUS_CLASSES)), winner_N, -1)


def _columns(header: list[str], path: Path) -> tuple[list[int], int]:
    for prefix, usage in (("", "Usage"), ("ferplus_", "usage")):
        names = [prefix + name for name in FERPLUS.names]
        if usage in header and set(names) <= set(header):
            return [header.index(name) for name in names], header.index(usage)
    what = f"the header lacks Usage or one of the vote columns {', '.join(FERPLUS.names)}"
    raise DataError(what, str(path), "set `votes` to FERPlus's fer2013new.csv")
