"""Public metrics of classification, pure functions of class indices; the definitions are scikit-learn's."""

from __future__ import annotations

import numpy as np

from blear.contracts import Metric


def confusion(truth_N: np.ndarray, prediction_N: np.ndarray, classes: int | None = None) -> np.ndarray:
    """Counts [K, K], int64: row = true class, column = predicted class.

    Args:
        truth_N, prediction_N: class indices from 0, integers or whole floats.
        classes: K; left out, one more than the largest index that occurs.

    Raises:
        ValueError: different lengths, an index that is negative, not whole, or not below `classes`.
    """
    pairs_2N = np.stack([_indices(truth_N), _indices(prediction_N)])
    largest = int(pairs_2N.max(initial=-1))
    size = largest + 1 if classes is None else classes
    if largest >= size:
        raise ValueError(f"class index {largest} among {size} classes")
    return np.bincount(pairs_2N[0] * size + pairs_2N[1], minlength=size * size).reshape(size, size)


def accuracy(truth_N: np.ndarray, prediction_N: np.ndarray) -> float:
    """Share of right predictions; NaN without samples."""
    counts = confusion(truth_N, prediction_N)
    return _mean(np.trace(counts), counts.sum())


def balanced_accuracy(truth_N: np.ndarray, prediction_N: np.ndarray) -> float:
    """Mean recall over the classes that occur in the truth; NaN without samples."""
    counts = confusion(truth_N, prediction_N)
    support = counts.sum(axis=1)
    present = support > 0
    return _mean((np.diag(counts)[present] / support[present]).sum(), present.sum())


def macro_f1(truth_N: np.ndarray, prediction_N: np.ndarray) -> float:
    """Mean F1 over the classes that occur in the truth or among the predictions; NaN without samples."""
    counts = confusion(truth_N, prediction_N)
    occurrences = counts.sum(axis=0) + counts.sum(axis=1)  # 2 TP + FP + FN
    present = occurrences > 0
    return _mean((2 * np.diag(counts)[present] / occurrences[present]).sum(), present.sum())


CLASSIFICATION = (
    Metric("accuracy", "Accuracy", accuracy, True),
    Metric("balanced_accuracy", "Balanced accuracy", balanced_accuracy, True),
    Metric("macro_f1", "Macro F1", macro_f1, True),
)
"""The metrics of a head that names one class, the headline first."""


def _indices(values_N: np.ndarray) -> np.ndarray:
    values = np.asarray(values_N).reshape(-1)
    whole = values.astype(np.int64)
    if (whole != values).any() or (whole < 0).any():
        raise ValueError("class indices must be whole numbers from 0")
    return whole


def _mean(total: float, count: int) -> float:
    return float(total) / float(count) if count else float("nan")
