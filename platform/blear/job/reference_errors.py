"""Reads the reference error rates of the mean corruption error (mCE) from a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path

from blear.errors import JobError

_COLUMNS = ("condition", "severity", "error")


def read_errors(path: Path) -> dict[str, dict[float, float]]:
    """Reads a CSV file with the columns condition, severity, error.

    Returns:
        condition -> severity -> error rate in [0, 1]; the condition `clean`, if present, has severity 0.

    Raises:
        JobError: the file or a column is missing, a value is not a number, or there are no rows.
    """
    do = f"give a CSV with the columns {', '.join(_COLUMNS)}"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise JobError(f"cannot be read: {error}", str(path), do) from error
    found: dict[str, dict[float, float]] = {}
    for number, row in enumerate(rows, 2):
        try:
            severity, error_rate = float(row["severity"]), float(row["error"])
            if not 0 <= error_rate <= 1:
                raise ValueError(f"an error rate of {error_rate}")
            found.setdefault(row["condition"], {})[severity] = error_rate
        except (KeyError, TypeError, ValueError) as error:
            raise JobError(f"line {number} is no reference error: {error!r}", str(path), do) from error
    if not found:
        raise JobError("no rows", str(path), do)
    return found
