"""The labels of all samples of a shard at once, checked against what the dataset declares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blear.contracts import Target
from blear.data.shard.checks import SLACK
from blear.data.shard.index import ShardIndex


def labels_of(index: ShardIndex, targets: Sequence[Target]) -> tuple[np.ndarray, dict[int, str]]:
    """(float64 [samples, targets] in the declared order, sample number -> why it cannot be used)."""
    values_NK = np.zeros((len(index), len(targets)))
    problems = dict(index.problems)
    names = {target.name for target in targets}
    wrong_N = np.zeros(len(index), dtype=np.bool_)
    for column, name in enumerate(index.targets):
        if name not in names:
            wrong_N |= index.given_NK[:, column]
    for column, target in enumerate(targets):
        if target.name not in index.targets:
            wrong_N[:] = True
            continue
        found = index.targets.index(target.name)
        wrong_N |= ~index.given_NK[:, found]
        values_NK[:, column] = index.values_NK[:, found]
    for row in np.flatnonzero(wrong_N).tolist():
        given = sorted(name for name, there in zip(index.targets, index.given_NK[row], strict=True) if there)
        problems.setdefault(row, f"targets are {given}, the dataset declares {sorted(names)}")
    for column, target in enumerate(targets):
        wrong, expected = _wrong(values_NK[:, column], target)
        for row in np.flatnonzero(wrong).tolist():
            problems.setdefault(row, f"target {target.name} is {values_NK[row, column]:.15g}, {expected}")
    for row in problems:
        values_NK[row] = 0.0  # never read, but it must cast to an index
    return values_NK, problems


def _wrong(values_N: np.ndarray, target: Target) -> tuple[np.ndarray, str]:
    """Which values cannot be, and what was expected."""
    if target.kind == "class":
        inside = (values_N >= 0) & (values_N < len(target.classes)) & (values_N == np.floor(values_N))
        return ~inside, f"expected a class index below {len(target.classes)}"
    finite = np.isfinite(values_N)
    if not finite.all() or target.bounds is None:
        return ~finite, "expected a finite number"
    low, high = target.bounds
    return (values_N < low - SLACK) | (values_N > high + SLACK), f"outside {[low, high]}"
