"""A statistic with its bootstrap distribution and jackknife, and the BCa interval that these give.

Efron 1987, "Better bootstrap confidence intervals"; Efron and Tibshirani 1993, chapter 14. Clusters stand for samples:
whole ones are drawn, whole ones are left out (Field and Welsh 2007).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

CONFIDENCE = 0.95
_MIN_DEFINED = 0.9
_EQUAL = 1e-12


@dataclass(frozen=True)
class Spread:
    """A statistic; those made on the same draws are paired, element by element.

    Attributes:
        value: on all samples; NaN: undefined.
        distribution_R: in each resample.
        jackknife_J: without each cluster, or each of equal groups of clusters.
    """

    value: float
    distribution_R: np.ndarray
    jackknife_J: np.ndarray

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """BCa interval; None where the statistic is undefined, or undefined in more than a tenth of the resamples."""
        return bca(self.value, self.distribution_R, self.jackknife_J, confidence)


def combine(function: Callable[..., np.ndarray], *spreads: Spread) -> Spread:
    """A statistic made of others on the same draws: `function` takes arrays of their values, element by element."""
    with np.errstate(all="ignore"):
        return Spread(
            float(function(*(np.asarray(s.value) for s in spreads))),
            np.asarray(function(*(s.distribution_R for s in spreads))),
            np.asarray(function(*(s.jackknife_J for s in spreads))),
        )


def minus(a: Spread, b: Spread) -> Spread:
    """The paired difference of two statistics."""
    return combine(np.subtract, a, b)


def mean(*spreads: Spread) -> Spread:
    """Their mean."""
    return combine(lambda *values: np.mean(np.stack(values), axis=0), *spreads)


def bca(
    value: float, distribution_R: np.ndarray, jackknife_J: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Bias-corrected and accelerated percentile interval.

    Degenerate cases: resamples that are all alike give that one value; a value outside all resamples has the bias of
    half a resample; a jackknife that does not vary, or is undefined in more than a tenth, has no acceleration.

    Returns:
        (low, high); None where `value`, or more than a tenth of the distribution, is undefined.
    """
    defined = distribution_R[np.isfinite(distribution_R)]
    if not np.isfinite(value) or not len(defined) or len(defined) < _MIN_DEFINED * len(distribution_R):
        return None
    if np.ptp(defined) <= _EQUAL * max(1.0, abs(value)):
        return float(defined.min()), float(defined.max())
    below = (np.count_nonzero(defined < value) + np.count_nonzero(defined <= value)) / 2  # ties count half
    bias = ndtri(np.clip(below, 0.5, len(defined) - 0.5) / len(defined))
    tail = ndtri((1 - confidence) / 2)
    places = ndtr(_adjusted(np.array([tail, -tail]) + bias, bias, _acceleration(jackknife_J)))
    low, high = np.quantile(defined, places)
    return float(low), float(high)


def _adjusted(z_2: np.ndarray, bias: float, acceleration: float) -> np.ndarray:
    """Where the two ends lie among normal scores; past the pole of the formula they lie at the end."""
    below = 1 - acceleration * z_2
    return np.where(below > 0, bias + z_2 / np.where(below > 0, below, 1), np.sign(z_2) * np.inf)


def _acceleration(jackknife_J: np.ndarray) -> float:
    defined = jackknife_J[np.isfinite(jackknife_J)]
    if len(defined) < 2 or len(defined) < _MIN_DEFINED * len(jackknife_J):
        return 0.0
    away = defined.mean() - defined
    square = float((away**2).sum())
    return float((away**3).sum() / (6 * square**1.5)) if square > _EQUAL**2 else 0.0
