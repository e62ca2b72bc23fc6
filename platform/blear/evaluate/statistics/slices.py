"""Slices: the headline metric of the decisions that have the same value of a column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from blear.errors import RunError
from blear.evaluate.predictions import META
from blear.evaluate.statistics.prediction_groups import PredictionGroup
from blear.evaluate.statistics.resampler import ClusteredPredictions
from blear.evaluate.statistics.results import Slice
from blear.evaluate.statistics.tested_predictions import TestedPredictions

TABLE_COLUMNS = ("subject", "video", "truth")
"""Columns of the predictions table that can be sliced by, beside the columns of `meta`."""
_MAX_NUMBERS, _MAX_VALUES = 12, 200
_QUARTERS = 4
_MIN_DECISIONS, _MIN_CLUSTERS = 30, 10
_UNKNOWN = "unknown"


def slices(tested: TestedPredictions, columns: Sequence[str]) -> Iterator[Slice]:
    """Yields the headline metric of every slice of every arm at every condition, with intervals.

    A column with more than 12 different numbers is cut at its quartiles. Otherwise each value is a slice; decisions
    without a value form the slice `unknown`.

    Args:
        columns: names of metadata columns, or of `TABLE_COLUMNS`.

    Raises:
        RunError: no decision has the column, or a column of strings has more than 200 values.
    """
    for column in columns:
        names, code_N = np.unique(_slice_names(tested, column), return_inverse=True)
        for (arm, condition, severity), group in tested.groups.items():
            group_code_N = code_N[group.rows_N]
            for code in np.unique(group_code_N):
                here = group_code_N == code
                rows_n = group.rows_N[here]
                parts = [_rows_of(one, rows_n) for one in group.of_each_seed]
                estimates = [tested.resampler.estimate(part, tested.headline) for part in parts]
                estimate = tested.resampler.mean_over_seeds(estimates)
                clusters, n = len(np.unique(parts[0].clusters_N)), len(parts[0].truth_N)
                interval = estimate.interval() if tested.resampler.resamples and clusters > 2 else None
                yield Slice(
                    column=column,
                    group=str(names[code]),
                    arm=arm,
                    condition=condition,
                    severity=severity,
                    metric=tested.headline.name,
                    value=estimate.value if np.isfinite(estimate.value) else None,
                    low=interval[0] if interval else None,
                    high=interval[1] if interval else None,
                    n=n,
                    clusters=clusters,
                    small=n < _MIN_DECISIONS or clusters < _MIN_CLUSTERS,
                )


def _rows_of(group: PredictionGroup, rows_N: np.ndarray) -> ClusteredPredictions:
    """Returns the predictions of a group in some rows of the table."""
    here = np.isin(group.rows_N, rows_N)
    truth, prediction = group.scored
    return ClusteredPredictions(truth[here], prediction[here], group.clusters_N[here], group.classes)


def _slice_names(tested: TestedPredictions, column: str) -> np.ndarray:
    """Returns the name of the slice of each row of the table."""
    if column == "truth" and tested.classes:
        return np.array(tested.classes)[tested.table["truth"].to_numpy().astype(np.int64)]
    if column in TABLE_COLUMNS:
        found = [_UNKNOWN if value in (None, "") else value for value in tested.table[column].to_pylist()]
    else:
        found = [_known(dict(row or ()).get(column)) for row in tested.table[META].to_pylist()]
    known = {value for value in found if value != _UNKNOWN}
    if not known:
        raise RunError(f"no sample has {column!r} in its metadata", "evaluate.slices", _known_columns(tested.table))
    numbers = _numbers(known)
    if numbers is None or len(known) <= _MAX_NUMBERS:
        if len(known) > _MAX_VALUES:
            do = "slice by a column of fewer values"
            raise RunError(f"{column!r} has {len(known)} values, the maximum is {_MAX_VALUES}", "evaluate.slices", do)
        return np.array([str(value) for value in found])
    return _quarters([None if value == _UNKNOWN else float(value) for value in found])


def _known(value: str | None) -> str:
    """Returns a metadata value; `unknown` without one, and for NaN, which tables have for an empty cell."""
    return _UNKNOWN if value is None or value.strip().lower() in ("", "nan") else value


def _numbers(known: set[str]) -> list[float] | None:
    try:
        numbers = [float(value) for value in known]
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _quarters(values: Sequence[float | None]) -> np.ndarray:
    """Returns the quarter of each value, for example "2: 19.75 to 39.5"; the number sorts quarters by value."""
    known = np.array([value for value in values if value is not None])
    cuts = np.unique(np.quantile(known, np.arange(1, _QUARTERS) / _QUARTERS))
    ends = [known.min(), *cuts, known.max()]
    names = [f"{i + 1}: {low:.4g} to {high:.4g}" for i, (low, high) in enumerate(pairwise(ends))]
    return np.array(
        [_UNKNOWN if value is None else names[int(np.searchsorted(cuts, value, side="left"))] for value in values]
    )


def _known_columns(table: pa.Table) -> str:
    known = sorted({key for row in table[META].to_pylist() for key, _ in row or ()})
    return f"name one of: {', '.join([*known, *TABLE_COLUMNS])}"
