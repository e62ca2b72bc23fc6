"""Reads the labels of a shard from its index and checks them against the dataset's targets.

A class or regression label is one column of numbers. A distribution over K classes is K columns, which the index names
`votes[0]` to `votes[K-1]`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from blear.contracts import Target
from blear.data.shard.checks import BOUNDS_TOLERANCE, SHARES_TOLERANCE
from blear.data.shard.index import ShardIndex
from blear.data.shard.sample_metadata import share_column, target_of_column


def label_slices(targets: Sequence[Target]) -> dict[str, slice]:
    """Returns target name -> its columns among the label columns of all targets, in the order of `targets`."""
    slices, start = {}, 0
    for target in targets:
        width = len(target.classes) if target.kind == "distribution" else 1
        slices[target.name] = slice(start, start + width)
        start += width
    return slices


def label_columns(targets: Sequence[Target]) -> int:
    """Returns the number of label columns of all targets."""
    return max((columns.stop for columns in label_slices(targets).values()), default=0)


def read_labels(index: ShardIndex, targets: Sequence[Target]) -> tuple[np.ndarray, dict[int, str]]:
    """Reads the labels of all N samples of a shard.

    Args:
        index: of the shard.
        targets: targets that the dataset declares, with K label columns (`label_slices`).

    Returns:
        (float64 [N, K], sample number -> why the sample cannot be used).
    """
    names = _column_names(targets)
    values_NK = np.zeros((len(index), len(names)))
    problems = dict(index.problems)
    mismatch_N = np.zeros(len(index), dtype=np.bool_)  # the sample's target names are not the declared ones
    for column, name in enumerate(index.targets):
        if name not in names:
            mismatch_N |= index.given_NK[:, column]
    for column, name in enumerate(names):
        if name not in index.targets:
            mismatch_N[:] = True
            continue
        source = index.targets.index(name)
        mismatch_N |= ~index.given_NK[:, source]
        values_NK[:, column] = index.values_NK[:, source]
    for row in np.flatnonzero(mismatch_N).tolist():
        given = [name for name, is_given in zip(index.targets, index.given_NK[row], strict=True) if is_given]
        problems.setdefault(row, f"targets are {_describe(given)}, the dataset declares {_describe(names)}")
    for target, columns in zip(targets, label_slices(targets).values(), strict=True):
        invalid_N, expected = _find_invalid(values_NK[:, columns], target)
        for row in np.flatnonzero(invalid_N).tolist():
            label = ", ".join(f"{value:.15g}" for value in values_NK[row, columns])
            problems.setdefault(row, f"target {target.name} is {label}, {expected}")
    for row in problems:
        values_NK[row] = 0.0  # never used, but a class label must convert to int
    return values_NK, problems


def _column_names(targets: Sequence[Target]) -> list[str]:
    """Returns the name of each label column in the index of a shard."""
    names = []
    for target in targets:
        distribution = target.kind == "distribution"
        names += [share_column(target.name, k) for k in range(len(target.classes))] if distribution else [target.name]
    return names


def _describe(columns: Sequence[str]) -> list[str]:
    """Returns the sorted target names of columns, for messages; `votes of 3 classes` for a distribution."""
    counts = Counter(map(target_of_column, columns))
    return sorted(
        name if name in columns else f"{name} of {count} class{'es' if count > 1 else ''}"
        for name, count in counts.items()
    )


def _find_invalid(values_NK: np.ndarray, target: Target) -> tuple[np.ndarray, str]:
    """(bool [N], whether a label is invalid; the expected values, for messages)."""
    if target.kind == "distribution":
        total_N = values_NK.sum(axis=1)
        valid_N = (values_NK >= 0).all(axis=1) & (np.abs(total_N - 1) <= SHARES_TOLERANCE)
        return ~valid_N, "expected shares from 0 that sum to 1"
    values_N = values_NK[:, 0]
    if target.kind == "class":
        valid_N = (values_N >= 0) & (values_N < len(target.classes)) & (values_N == np.floor(values_N))
        return ~valid_N, f"expected a class index below {len(target.classes)}"
    finite_N = np.isfinite(values_N)
    if not finite_N.all() or target.bounds is None:
        return ~finite_N, "expected a finite number"
    low, high = target.bounds
    return (values_N < low - BOUNDS_TOLERANCE) | (values_N > high + BOUNDS_TOLERANCE), f"outside {[low, high]}"
