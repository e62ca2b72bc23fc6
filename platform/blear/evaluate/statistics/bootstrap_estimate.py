"""A statistic with its bootstrap and jackknife distributions, and its BCa confidence interval.

Efron 1987, "Better bootstrap confidence intervals"; Efron and Tibshirani 1993, chapter 14. The bootstrap draws whole
clusters and the jackknife omits whole clusters (Field and Welsh 2007).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
_MIN_DEFINED = 0.9
_EQUAL = 1e-12


@dataclass(frozen=True)
class BootstrapEstimate:
    """A statistic with its resampling distributions. Estimates from the same draws are paired element by element.

    Attributes:
        value: the statistic on all samples; NaN: undefined.
        distribution_R: the statistic of each bootstrap resample.
        jackknife_J: the statistic without each cluster, or without each of J groups of clusters.
    """

    value: float
    distribution_R: np.ndarray
    jackknife_J: np.ndarray

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """Returns the BCa interval (low, high); None where `bca` has none."""
        return bca(self.value, self.distribution_R, self.jackknife_J, confidence)

    def p_above(self, bound: float) -> float | None:
        """Returns the one-sided p value that the statistic is at most `bound`; it agrees with `interval`."""
        return bca_p_value(self.value, self.distribution_R, self.jackknife_J, bound)


def combine(function: Callable[..., np.ndarray], *estimates: BootstrapEstimate) -> BootstrapEstimate:
    """Applies an element-wise function of several paired estimates to their values and distributions."""
    with np.errstate(all="ignore"):
        return BootstrapEstimate(
            float(function(*(np.asarray(s.value) for s in estimates))),
            np.asarray(function(*(s.distribution_R for s in estimates))),
            np.asarray(function(*(s.jackknife_J for s in estimates))),
        )


def paired_difference(a: BootstrapEstimate, b: BootstrapEstimate) -> BootstrapEstimate:
    """Computes the paired difference a - b."""
    return combine(np.subtract, a, b)


def mean(*estimates: BootstrapEstimate) -> BootstrapEstimate:
    """Computes the mean of paired estimates."""
    return combine(lambda *values: np.mean(np.stack(values), axis=0), *estimates)


def bca(
    value: float, distribution_R: np.ndarray, jackknife_J: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Computes the bias-corrected and accelerated (BCa) percentile interval.

    Degenerate cases: equal resamples give the interval of that one value; a value outside all resamples has the bias of
    half a resample; the acceleration is 0 where the jackknife is constant or more than a tenth of it is undefined.

    Returns:
        (low, high); None where `value` or more than a tenth of the distribution is undefined.
    """
    defined = _defined(value, distribution_R)
    if defined is None:
        return None
    if np.ptp(defined) <= _EQUAL * max(1.0, abs(value)):
        return float(defined.min()), float(defined.max())
    from scipy.special import ndtr, ndtri  # imported late: many processes never compute an interval

    bias = _bias(value, defined)
    tail = ndtri((1 - confidence) / 2)
    levels = ndtr(_adjusted(np.array([tail, -tail]) + bias, bias, _acceleration(jackknife_J)))
    low, high = np.quantile(defined, levels)
    return float(low), float(high)


def bca_p_value(value: float, distribution_R: np.ndarray, jackknife_J: np.ndarray, bound: float) -> float | None:
    """Computes the one-sided p value of the hypothesis that a statistic is at most `bound`, by inversion of `bca`.

    The p value is the largest alpha for which the BCa interval of confidence 1 - 2 alpha does not lie above the bound
    (Efron and Tibshirani 1993, section 15.4; DiCiccio and Efron 1996), so that interval and test always agree: p is
    below alpha if and only if the lower end of that interval is above the bound. It is at least 1 / (R + 1).

    Returns:
        The p value; None where `bca` has no interval.
    """
    defined = _defined(value, distribution_R)
    if defined is None:
        return None
    smallest = 1 / (len(defined) + 1)
    if np.ptp(defined) <= _EQUAL * max(1.0, abs(value)):
        return smallest if defined.min() > bound else 1.0
    ordered = np.sort(defined)
    reached = int(np.searchsorted(ordered, bound, side="right"))  # resamples up to the bound
    if reached in (0, len(ordered)):
        return smallest if reached == 0 else 1.0
    below, above = ordered[reached - 1], ordered[reached]
    level = (reached - 1 + (bound - below) / (above - below)) / (len(ordered) - 1)  # inverse of np.quantile
    if level <= 0:  # the bound is the smallest resample
        return smallest
    from scipy.special import ndtr, ndtri

    bias, acceleration = _bias(value, defined), _acceleration(jackknife_J)
    away = ndtri(level) - bias
    stretch = 1 + acceleration * away
    z = away / stretch - bias if stretch > 0 else np.sign(away) * np.inf
    return float(min(1.0, max(smallest, ndtr(z))))


def _defined(value: float, distribution_R: np.ndarray) -> np.ndarray | None:
    """Returns the defined resamples; None where the statistic or more than a tenth of the resamples is undefined."""
    defined = distribution_R[np.isfinite(distribution_R)]
    enough = len(defined) and len(defined) >= _MIN_DEFINED * len(distribution_R)
    return defined if enough and np.isfinite(value) else None


def _bias(value: float, defined_R: np.ndarray) -> float:
    from scipy.special import ndtri

    below = (np.count_nonzero(defined_R < value) + np.count_nonzero(defined_R <= value)) / 2  # ties count half
    return float(ndtri(np.clip(below, 0.5, len(defined_R) - 0.5) / len(defined_R)))


def _adjusted(z_2: np.ndarray, bias: float, acceleration: float) -> np.ndarray:
    """Adjusts the normal scores of both ends for bias and acceleration; beyond the formula's pole they are infinite."""
    below = 1 - acceleration * z_2
    return np.where(below > 0, bias + z_2 / np.where(below > 0, below, 1), np.copysign(np.inf, z_2))


def _acceleration(jackknife_J: np.ndarray) -> float:
    defined = jackknife_J[np.isfinite(jackknife_J)]
    if len(defined) < 2 or len(defined) < _MIN_DEFINED * len(jackknife_J):
        return 0.0
    away = defined.mean() - defined
    square = float((away**2).sum())
    return float((away**3).sum() / (6 * square**1.5)) if square > _EQUAL**2 else 0.0
