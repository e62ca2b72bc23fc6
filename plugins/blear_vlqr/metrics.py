"""RMSE, CC and CCC of regression predictions, as in the VLQR repository.

Degenerate input: `cc` of a constant series is NaN; `ccc` of a constant prediction is 0, or NaN if both series are
constant and equal (0 / 0). All metrics of zero frames are NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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


def cc_of_repository(moments_6: np.ndarray) -> np.ndarray:
    """`cc` with "repo" divisors, from sums of `blear.metrics.moments` [..., 6]."""
    n = np.asarray(moments_6, dtype=np.float64)[..., 0]
    return np.divide(cc_of(moments_6) * (n - 1), n, out=np.full_like(n, np.nan), where=n > 1)


def ccc_of_repository(moments_6: np.ndarray) -> np.ndarray:
    """`ccc` with "repo" divisors, from sums of `blear.metrics.moments` [..., 6]."""
    n, truth, prediction, truth_2, prediction_2, product = np.moveaxis(np.asarray(moments_6, dtype=np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        truth, prediction = truth / n, prediction / n
        covariance = product / n - truth * prediction
        variances = (truth_2 + prediction_2 - n * (truth**2 + prediction**2)) / (n - 1)
        return np.where(n > 1, 2 * covariance / (variances + (truth - prediction) ** 2), np.nan)


REGRESSION = (
    Metric("ccc", "CCC", ccc, True, ccc_of),
    Metric("rmse", "RMSE", rmse, False, rmse_of),
    Metric("cc", "CC", cc, True, cc_of),
)
"""Metrics of the regression heads; the first one is the main metric."""

REPOSITORY = (
    Metric("ccc", "CCC (repository)", partial(ccc, ddof="repo"), True, ccc_of_repository),
    Metric("rmse", "RMSE", rmse, False, rmse_of),
    Metric("cc", "CC (repository)", partial(cc, ddof="repo"), True, cc_of_repository),
)
"""The same with the divisors of the authors' script run_eval.m."""


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
