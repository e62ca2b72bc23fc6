"""Bjontegaard differences between two curves of a metric against bit rate: BD-rate and BD-metric.

Bjontegaard 2001 (VCEG-M33). As in later practice, curves are interpolated by a monotone cubic (PCHIP), and bit rates
are on a logarithmic axis.
"""

from __future__ import annotations

import numpy as np

from blear.evaluate.statistics.curve_fitting import pchip_integral, separate_ties

_ROUNDING = 1e-9
_CUBIC_POINTS = 4


def bd_metric(x_a: np.ndarray, y_a: np.ndarray, x_b: np.ndarray, y_b: np.ndarray) -> np.ndarray:
    """Computes the mean of curve b minus curve a over their common range of bit rates.

    Args:
        x_a, x_b: log10 of the bit rates, ascending, [..., P].
        y_a, y_b: the metric, never decreasing, [..., P].

    Returns:
        Differences [...]; NaN where the ranges do not overlap.
    """
    return _mean_gap(separate_ties(x_a), y_a, separate_ties(x_b), y_b)


def bd_rate(x_a: np.ndarray, y_a: np.ndarray, x_b: np.ndarray, y_b: np.ndarray) -> np.ndarray:
    """Computes the change of bit rate from curve a to curve b at equal metric, in per cent.

    Args:
        x_a, x_b: log10 of the bit rates, ascending, [..., P].
        y_a, y_b: the metric, never decreasing, [..., P].

    Returns:
        Changes [...]; NaN where both curves reach no common value, or a curve is constant.
    """
    change = (10 ** _mean_gap(separate_ties(y_a), x_a, separate_ties(y_b), x_b) - 1) * 100
    return np.where(is_constant(y_a) | is_constant(y_b), np.nan, change)


def cubic_bd(x_a: np.ndarray, y_a: np.ndarray, x_b: np.ndarray, y_b: np.ndarray, kind: str) -> float | None:
    """Computes a difference as the original memo does: polynomials of third degree, without isotonic regression.

    Args:
        x_a, x_b: log10 of the bit rates of one curve each, [P].
        y_a, y_b: the metric, [P].
        kind: "rate": as `bd_rate`; "metric": as `bd_metric`.

    Returns:
        The difference; None with fewer than four different values, or where the ranges do not overlap.
    """
    pairs = [(y_a, x_a), (y_b, x_b)] if kind == "rate" else [(x_a, y_a), (x_b, y_b)]
    if any(len(np.unique(axis)) < _CUBIC_POINTS for axis, _ in pairs):
        return None
    low, high = max(float(axis.min()) for axis, _ in pairs), min(float(axis.max()) for axis, _ in pairs)
    if not low < high:
        return None
    areas = []
    for axis, values in pairs:
        centre = float(axis.mean())  # for numerical precision
        integral = np.polyint(np.polyfit(axis - centre, values, 3))
        areas.append(float(np.polyval(integral, high - centre) - np.polyval(integral, low - centre)))
    gap = (areas[1] - areas[0]) / (high - low)
    return float((10**gap - 1) * 100) if kind == "rate" else gap


def is_constant(y_P: np.ndarray) -> np.ndarray:
    """Returns whether a curve is constant up to rounding."""
    return np.ptp(y_P, axis=-1) <= _ROUNDING


def _mean_gap(x_a: np.ndarray, y_a: np.ndarray, x_b: np.ndarray, y_b: np.ndarray) -> np.ndarray:
    low, high = np.maximum(x_a[..., 0], x_b[..., 0]), np.minimum(x_a[..., -1], x_b[..., -1])
    overlap = high > low
    with np.errstate(all="ignore"):
        gap = pchip_integral(x_b, y_b, low, high) - pchip_integral(x_a, y_a, low, high)
        return np.where(overlap, gap / np.where(overlap, high - low, 1), np.nan)
