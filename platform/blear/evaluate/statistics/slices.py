"""The headline metric on slices: decisions that share a value of a column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from blear.errors import RunError
from blear.evaluate.predictions import META
from blear.evaluate.statistics.bootstrap_estimates import Rows
from blear.evaluate.statistics.findings import Slice
from blear.evaluate.statistics.tested import Tested

OWN = ("subject", "video", "truth")
"""Columns of the table that can be sliced by beside those of `meta`."""
_MOST = 12
_QUARTERS = 4
_FEW_DECISIONS, _FEW_CLUSTERS = 30, 10
_UNKNOWN = "unknown"


def slices(tested: Tested, columns: Sequence[str]) -> Iterator[Slice]:
    """Estimates of every slice of every arm at every condition, with intervals on the shared resamples.

    A column of more than 12 different numbers is cut at its quartiles; texts are taken as they are.

    Raises:
        RunError: no decision has the column, or one of texts has more than 200 values.
    """
    for column in columns:
        named_N = _values(tested, column)
        names, code_N = np.unique(named_N, return_inverse=True)
        for (arm, condition, severity), group in tested.groups.items():
            own_N = code_N[group.rows_N]
            for code in np.unique(own_N):
                here = own_N == code
                rows = Rows(group.truth_N[here], group.prediction_N[here], group.clusters_N[here], group.classes)
                spread = tested.resampler.spread(rows, tested.headline)
                clusters = len(np.unique(rows.clusters_N))
                span = spread.interval() if tested.resampler.resamples and clusters > 2 else None
                yield Slice(
                    column=column,
                    group=str(names[code]),
                    arm=arm,
                    condition=condition,
                    severity=severity,
                    metric=tested.headline.name,
                    value=spread.value if np.isfinite(spread.value) else None,
                    low=span[0] if span else None,
                    high=span[1] if span else None,
                    n=len(rows.truth_N),
                    clusters=clusters,
                    small=len(rows.truth_N) < _FEW_DECISIONS or clusters < _FEW_CLUSTERS,
                )


def _values(tested: Tested, column: str) -> np.ndarray:
    """The column's value of each row of the table, as a text."""
    if column == "truth" and tested.classes:
        return np.array(tested.classes)[tested.table["truth"].to_numpy().astype(np.int64)]
    if column in OWN:
        found = [_UNKNOWN if value in (None, "") else value for value in tested.table[column].to_pylist()]
    else:
        found = [dict(row or ()).get(column, _UNKNOWN) for row in tested.table[META].to_pylist()]
    known = {value for value in found if value != _UNKNOWN}
    if not known:
        raise RunError(f"no sample has {column!r} in its metadata", "evaluate.slices", _do(tested.table))
    numbers = _numbers(known)
    if numbers is None or len(known) <= _MOST:
        if len(known) > 200:
            do = "slice by a column of fewer values"
            raise RunError(f"{column!r} has {len(known)} values, 200 at most", "evaluate.slices", do)
        return np.array([str(value) for value in found])
    return _quarters([None if value == _UNKNOWN else float(value) for value in found])


def _numbers(known: set[str]) -> list[float] | None:
    try:
        return [float(value) for value in known]
    except ValueError:
        return None


def _quarters(values: Sequence[float | None]) -> np.ndarray:
    """Named parts of equally many rows, numbered so that they sort by value."""
    known = np.array([value for value in values if value is not None])
    cuts = np.unique(np.quantile(known, np.arange(1, _QUARTERS) / _QUARTERS))
    ends = [known.min(), *cuts, known.max()]
    names = [f"{i + 1}: {low:.4g} to {high:.4g}" for i, (low, high) in enumerate(pairwise(ends))]
    return np.array(
        [_UNKNOWN if value is None else names[int(np.searchsorted(cuts, value, side="left"))] for value in values]
    )


def _do(table: pa.Table) -> str:
    known = sorted({key for row in table[META].to_pylist() for key, _ in row or ()})
    return f"name one of: {', '.join([*known, *OWN])}"
