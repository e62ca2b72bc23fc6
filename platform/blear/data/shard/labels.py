"""Reads the labels of a shard from its index and checks them against the dataset's targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blear.contracts import Target
from blear.data.shard.checks import BOUNDS_TOLERANCE
from blear.data.shard.index import ShardIndex


def read_labels(index: ShardIndex, targets: Sequence[Target]) -> tuple[np.ndarray, dict[int, str]]:
    """Reads the labels of all N samples of a shard.

    Args:
        index: of the shard.
        targets: K targets that the dataset declares.

    Returns:
        (float64 [N, K] in the order of `targets`, sample number -> why the sample cannot be used).
    """
    values_NK = np.zeros((len(index), len(targets)))
    problems = dict(index.problems)
    names = {target.name for target in targets}
    mismatch_N = np.zeros(len(index), dtype=np.bool_)  # the sample's target names are not the declared ones
    for column, name in enumerate(index.targets):
        if name not in names:
            mismatch_N |= index.given_NK[:, column]
    for column, target in enumerate(targets):
        if target.name not in index.targets:
            mismatch_N[:] = True
            continue
        source = index.targets.index(target.name)
        mismatch_N |= ~index.given_NK[:, source]
        values_NK[:, column] = index.values_NK[:, source]
    for row in np.flatnonzero(mismatch_N).tolist():
        given = sorted(name for name, is_given in zip(index.targets, index.given_NK[row], strict=True) if is_given)
        problems.setdefault(row, f"targets are {given}, the dataset declares {sorted(names)}")
    for column, target in enumerate(targets):
        invalid_N, expected = _find_invalid(values_NK[:, column], target)
        for row in np.flatnonzero(invalid_N).tolist():
            problems.setdefault(row, f"target {target.name} is {values_NK[row, column]:.15g}, {expected}")
    for row in problems:
        values_NK[row] = 0.0  # never used, but a class label must convert to int
    return values_NK, problems


def _find_invalid(values_N: np.ndarray, target: Target) -> tuple[np.ndarray, str]:
    """(bool [N], whether a label is invalid; the expected values, for messages)."""
    if target.kind == "class":
        valid_N = (values_N >= 0) & (values_N < len(target.classes)) & (values_N == np.floor(values_N))
        return ~valid_N, f"expected a class index below {len(target.classes)}"
    finite_N = np.isfinite(values_N)
    if not finite_N.all() or target.bounds is None:
        return ~finite_N, "expected a finite number"
    low, high = target.bounds
    return (values_N < low - BOUNDS_TOLERANCE) | (values_N > high + BOUNDS_TOLERANCE), f"outside {[low, high]}"
