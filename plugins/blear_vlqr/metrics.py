"""RMSE, CC and CCC of regression predictions, as in the VLQR repository.

Degenerate input: `cc` of a constant series is NaN; `ccc` of a constant prediction is 0, or NaN if both series are
constant and equal (0 / 0). All metrics of zero frames are NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from blear.contracts import Metric
from blear.metrics import cc_of, ccc_of, rmse_of

Ddof = Literal["repo", "population"]
"""Divisors. "population": n for covariance and variances (textbook). "repo": n for covariance, n - 1 for variances."""


def rmse(truth_N: np.ndarray, prediction_N: np.ndarray) -> float:
    """Root mean squared error."""
    truth, prediction = _pair(truth_N, prediction_N)
    return float(np.sqrt(np.mean((truth - prediction) ** 2))) if truth.size else float("nan")


def cc(truth_N: np.ndarray, prediction_N: np.ndarray, ddof: Ddof = "population") -> float:
    """Pearson's correlation coefficient. With "repo" divisors it is multiplied by (n - 1) / n."""
    covariance, truth_variance, prediction_variance, _ = _moments(truth_N, prediction_N, ddof)
    return _ratio(covariance, np.sqrt(truth_variance) * np.sqrt(prediction_variance))


def ccc(truth_N: np.ndarray, prediction_N: np.ndarray, ddof: Ddof = "population") -> float:
    """Concordance correlation coefficient (Lin 1989): 2 cov / (var + var + (difference of means)^2)."""
    covariance, truth_variance, prediction_variance, shift = _moments(truth_N, prediction_N, ddof)
    return _ratio(2 * covariance, truth_variance + prediction_variance + shift**2)


REGRESSION = (
    Metric("ccc", "CCC", ccc, True, ccc_of),
    Metric("rmse", "RMSE", rmse, False, rmse_of),
    Metric("cc", "CC", cc, True, cc_of),
)
"""Metrics of the regression heads; the first one is the main metric."""


@dataclass(frozen=True)
class Aggregate:
    """A metric over the concatenation of all videos (the main result), and over each video."""

    total: float
    per_video: dict[str, float]


def aggregate(
    metric: Callable[[np.ndarray, np.ndarray], float],
    truth_N: np.ndarray,
    prediction_N: np.ndarray,
    videos_N: Sequence[str] | np.ndarray,
) -> Aggregate:
    """Computes a metric over all frames and over the frames of each video."""
    truth, prediction = _pair(truth_N, prediction_N)
    return Aggregate(metric(truth, prediction), per_video(metric, truth, prediction, videos_N))


def per_video(
    metric: Callable[[np.ndarray, np.ndarray], float],
    truth_N: np.ndarray,
    prediction_N: np.ndarray,
    videos_N: Sequence[str] | np.ndarray,
) -> dict[str, float]:
    """Computes a metric over the frames of each video. Videos are in order of first appearance."""
    truth, prediction = _pair(truth_N, prediction_N)
    names, first, inverse = np.unique(np.asarray(videos_N), return_index=True, return_inverse=True)
    if inverse.size != truth.size:
        raise ValueError(f"{truth.size} frames but {inverse.size} video names")
    return {str(names[v]): metric(truth[inverse == v], prediction[inverse == v]) for v in np.argsort(first)}


def _pair(truth_N: np.ndarray, prediction_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, prediction = np.asarray(truth_N, dtype=np.float64), np.asarray(prediction_N, dtype=np.float64)
    if truth.shape != prediction.shape:
        raise ValueError(f"truth has the shape {truth.shape}, prediction has {prediction.shape}; give equal shapes")
    return truth.reshape(-1), prediction.reshape(-1)


def _moments(truth_N: np.ndarray, prediction_N: np.ndarray, ddof: Ddof) -> tuple[float, float, float, float]:
    """Returns covariance, both variances, and the difference of the means."""
    truth, prediction = _pair(truth_N, prediction_N)
    n = truth.size
    if n <= (ddof == "repo"):
        return (float("nan"),) * 4
    # subtract the first value: the variance of a constant series must be exactly zero
    shift = prediction[0] - truth[0]
    truth, prediction = truth - truth[0], prediction - prediction[0]
    shift += prediction.mean() - truth.mean()
    truth, prediction = truth - truth.mean(), prediction - prediction.mean()
    divisor = n - 1 if ddof == "repo" else n
    variances = (truth @ truth) / divisor, (prediction @ prediction) / divisor
    return float(truth @ prediction) / n, float(variances[0]), float(variances[1]), float(shift)


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else float("nan")
