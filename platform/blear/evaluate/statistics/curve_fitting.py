"""Monotone curve fits of many curves at once, arrays [..., P]: isotonic regression, PCHIP, upper concave hulls.

Isotonic regression uses the min-max formula (Robertson et al. 1988, 1.4). PCHIP: Fritsch and Butland 1984, equal to
`scipy.interpolate.PchipInterpolator`, which supports only one x axis for all curves.
"""

from __future__ import annotations

import numpy as np

_TIE_STEP = 1e-9


def isotonic_regression(values_P: np.ndarray) -> np.ndarray:
    """Fits the non-decreasing sequence with the least squared error.

    Element i is the maximum over j <= i of the minimum over k >= i of the mean of elements j to k.
    """
    count = values_P.shape[-1]
    sums = np.concatenate([np.zeros((*values_P.shape[:-1], 1)), np.cumsum(values_P, axis=-1)], axis=-1)
    first, last = np.arange(count)[:, None], np.arange(count)[None, :]
    means_PP = (sums[..., None, 1:] - sums[..., :-1, None]) / np.maximum(last - first + 1, 1)
    means_PP = np.where(last >= first, means_PP, np.inf)
    least_PP = np.minimum.accumulate(means_PP[..., ::-1], axis=-1)[..., ::-1]  # over k >= i
    least_PP = np.where(first <= last, least_PP, -np.inf)
    return least_PP.max(axis=-2)


def separate_ties(sorted_P: np.ndarray) -> np.ndarray:
    """Moves equal x values apart by a billionth of the range, so that a plateau becomes a step."""
    span = np.ptp(sorted_P, axis=-1, keepdims=True)
    return sorted_P + np.arange(sorted_P.shape[-1]) * _TIE_STEP * span


def upper_concave_hull(x_P: np.ndarray, y_P: np.ndarray) -> np.ndarray:
    """Computes the upper concave hull of points at their own x values, made non-decreasing.

    The hull never decreases because a higher bit rate is never worse.

    Args:
        x_P: x values, ascending.
        y_P: y values.
    """
    left, right = x_P[..., :, None, None], x_P[..., None, :, None]
    here = x_P[..., None, None, :]
    width = np.where(right > left, right - left, 1)
    share = np.where(right > left, (here - left) / width, 0)
    height = y_P[..., :, None, None] * (1 - share) + y_P[..., None, :, None] * share
    hull_P = np.where((left <= here) & (here <= right), height, -np.inf).max(axis=(-3, -2))
    return np.maximum.accumulate(hull_P, axis=-1)


def pchip_slopes(x_P: np.ndarray, y_P: np.ndarray) -> np.ndarray:
    """Computes the derivative of the PCHIP interpolant at each point; x values are strictly ascending."""
    h, m = np.diff(x_P, axis=-1), np.diff(y_P, axis=-1) / np.diff(x_P, axis=-1)
    if x_P.shape[-1] == 2:
        return np.concatenate([m, m], axis=-1)
    before, after, left, right = h[..., :-1], h[..., 1:], m[..., :-1], m[..., 1:]
    w1, w2 = 2 * after + before, after + 2 * before
    flat = (np.sign(left) != np.sign(right)) | (left == 0) | (right == 0)
    with np.errstate(all="ignore"):
        inner = np.where(flat, 0, (w1 + w2) / (w1 / left + w2 / right))
    ends = [_end_slope(h[..., i], h[..., j], m[..., i], m[..., j])[..., None] for i, j in ((0, 1), (-1, -2))]
    return np.concatenate([ends[0], inner, ends[1]], axis=-1)


def pchip_integral(x_P: np.ndarray, y_P: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Integrates the PCHIP interpolant from `low` to `high`, both within the range of x."""
    h, d = np.diff(x_P, axis=-1), pchip_slopes(x_P, y_P)
    ends = [np.clip((np.asarray(end)[..., None] - x_P[..., :-1]) / h, 0, 1) for end in (low, high)]
    parts = [_hermite_integral(t, y_P[..., :-1], y_P[..., 1:], h * d[..., :-1], h * d[..., 1:]) for t in ends]
    return ((parts[1] - parts[0]) * h).sum(axis=-1)


def _hermite_integral(t: np.ndarray, y0: np.ndarray, y1: np.ndarray, s0: np.ndarray, s1: np.ndarray) -> np.ndarray:
    """Integrates the cubic Hermite polynomial on [0, 1] from 0 to t; y are values, s slopes at both ends."""
    t2, t3, t4 = t**2, t**3, t**4
    return y0 * (t - t3 + t4 / 2) + s0 * (t2 / 2 - 2 * t3 / 3 + t4 / 4) + y1 * (t3 - t4 / 2) + s1 * (t4 / 4 - t3 / 3)


def _end_slope(h0: np.ndarray, h1: np.ndarray, m0: np.ndarray, m1: np.ndarray) -> np.ndarray:
    """Computes the slope at an end by the three-point formula, limited to the sign and three times the first secant."""
    d = ((2 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)
    d = np.where((np.sign(m0) != np.sign(m1)) & (np.abs(d) > 3 * np.abs(m0)), 3 * m0, d)
    return np.where(np.sign(d) != np.sign(m0), 0, d)
