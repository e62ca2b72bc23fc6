"""Warns where a model's labels seem to be in another order than its outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LEAST_GAIN = 0.15
"""Gain of accuracy on clean pictures from which on another order of the labels is proposed."""


def better_order(counts_KK: np.ndarray, classes: Sequence[str]) -> str:
    """Returns a warning if another assignment of outputs to classes has a much higher accuracy; else "".

    Args:
        counts_KK: confusion matrix on clean pictures, row = true class, column = predicted class.
        classes: names of the classes.
    """
    from scipy.optimize import linear_sum_assignment

    total = counts_KK.sum()
    if not total:
        return ""
    rows, columns = linear_sum_assignment(counts_KK, maximize=True)
    now, best = np.trace(counts_KK) / total, counts_KK[rows, columns].sum() / total
    if best - now < _LEAST_GAIN:
        return ""
    moved = [f"{classes[c]} would be {classes[r]}" for r, c in zip(rows, columns, strict=True) if r != c]
    return (
        f"the labels may be in another order: accuracy on clean pictures is {now:.3f}, and {best:.3f} if the outputs "
        f"had other names ({', '.join(moved)})"
    )
