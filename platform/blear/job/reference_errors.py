"""Error rates of a reference that mCE is relative to, from a CSV: condition, severity, error."""

from __future__ import annotations

import csv
from pathlib import Path

from blear.errors import JobError

_COLUMNS = ("condition", "severity", "error")


def read_errors(path: Path) -> dict[str, dict[float, float]]:
    """Condition -> severity -> error rate in [0, 1]; `clean` with severity 0, where it is given.

    Raises:
        JobError: missing, a column is missing, or a row is not numbers.
    """
    do = f"give a CSV with the columns {', '.join(_COLUMNS)}"
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise JobError(f"cannot be read: {error}", str(path), do) from error
    found: dict[str, dict[float, float]] = {}
    for number, row in enumerate(rows, 2):
        try:
            severity, rate = float(row["severity"]), float(row["error"])
            if not 0 <= rate <= 1:
                raise ValueError(f"an error rate of {rate}")
            found.setdefault(row["condition"], {})[severity] = rate
        except (KeyError, TypeError, ValueError) as error:
            raise JobError(f"line {number} is no reference error: {error!r}", str(path), do) from error
    if not found:
        raise JobError("no rows", str(path), do)
    return found
