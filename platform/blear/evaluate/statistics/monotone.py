"""Monotone curves through many sets of points at once, [..., P] each: isotonic regression, PCHIP, upper hulls.

Isotonic regression by its min-max formula (Robertson et al. 1988, 1.4). PCHIP: Fritsch and Butland 1984, equal to
`scipy.interpolate.PchipInterpolator`, which takes one set of places only.
"""

from __future__ import annotations

import numpy as np

_STEP = 1e-9


def isotonic(values_P: np.ndarray) -> np.ndarray:
    """The rising sequence nearest in squares: at i, the largest over j <= i of the smallest mean of [j, k], k >= i."""
    count = values_P.shape[-1]
    sums = np.concatenate([np.zeros((*values_P.shape[:-1], 1)), np.cumsum(values_P, axis=-1)], axis=-1)
    first, last = np.arange(count)[:, None], np.arange(count)[None, :]
    means_PP = (sums[..., None, 1:] - sums[..., :-1, None]) / np.maximum(last - first + 1, 1)
    means_PP = np.where(last >= first, means_PP, np.inf)
    least_PP = np.minimum.accumulate(means_PP[..., ::-1], axis=-1)[..., ::-1]  # over k >= i
    least_PP = np.where(first <= last, least_PP, -np.inf)
    return least_PP.max(axis=-2)


def rising(places_P: np.ndarray) -> np.ndarray:
    """Sorted places, those that are equal moved apart by a billionth of the range, so that a plateau becomes a step."""
    span = np.ptp(places_P, axis=-1, keepdims=True)
    return places_P + np.arange(places_P.shape[-1]) * _STEP * span


def upper_hull(x_P: np.ndarray, y_P: np.ndarray) -> np.ndarray:
    """Height at each place of the upper concave hull of all points, then never falling: more bits are never worse.

    Args:
        x_P: places, ascending.
        y_P: heights.
    """
    left, right = x_P[..., :, None, None], x_P[..., None, :, None]
    here = x_P[..., None, None, :]
    width = np.where(right > left, right - left, 1)
    share = np.where(right > left, (here - left) / width, 0)
    height = y_P[..., :, None, None] * (1 - share) + y_P[..., None, :, None] * share
    hull_P = np.where((left <= here) & (here <= right), height, -np.inf).max(axis=(-3, -2))
    return np.maximum.accumulate(hull_P, axis=-1)


def slopes(x_P: np.ndarray, y_P: np.ndarray) -> np.ndarray:
    """PCHIP's derivative at each place; places rise."""
    h, m = np.diff(x_P, axis=-1), np.diff(y_P, axis=-1) / np.diff(x_P, axis=-1)
    if x_P.shape[-1] == 2:
        return np.concatenate([m, m], axis=-1)
    before, after, wide, narrow = h[..., :-1], h[..., 1:], m[..., :-1], m[..., 1:]
    w1, w2 = 2 * after + before, after + 2 * before
    flat = (np.sign(wide) != np.sign(narrow)) | (wide == 0) | (narrow == 0)
    with np.errstate(all="ignore"):
        inner = np.where(flat, 0, (w1 + w2) / (w1 / wide + w2 / narrow))
    ends = [_end(h[..., i], h[..., j], m[..., i], m[..., j])[..., None] for i, j in ((0, 1), (-1, -2))]
    return np.concatenate([ends[0], inner, ends[1]], axis=-1)


def integral(x_P: np.ndarray, y_P: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Integral of the PCHIP curve from `low` to `high`, both within the places."""
    h, d = np.diff(x_P, axis=-1), slopes(x_P, y_P)
    ends = [np.clip((np.asarray(end)[..., None] - x_P[..., :-1]) / h, 0, 1) for end in (low, high)]
    parts = [_antiderivative(t, y_P[..., :-1], y_P[..., 1:], h * d[..., :-1], h * d[..., 1:]) for t in ends]
    return ((parts[1] - parts[0]) * h).sum(axis=-1)


def _antiderivative(t: np.ndarray, y0: np.ndarray, y1: np.ndarray, s0: np.ndarray, s1: np.ndarray) -> np.ndarray:
    """Of the cubic Hermite polynomial on [0, 1], from 0."""
    t2, t3, t4 = t**2, t**3, t**4
    return y0 * (t - t3 + t4 / 2) + s0 * (t2 / 2 - 2 * t3 / 3 + t4 / 4) + y1 * (t3 - t4 / 2) + s1 * (t4 / 4 - t3 / 3)


def _end(h0: np.ndarray, h1: np.ndarray, m0: np.ndarray, m1: np.ndarray) -> np.ndarray:
    """Slope at an end: three points, of the sign of the first piece, at most three times as steep."""
    d = ((2 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)
    d = np.where((np.sign(m0) != np.sign(m1)) & (np.abs(d) > 3 * np.abs(m0)), 3 * m0, d)
    return np.where(np.sign(d) != np.sign(m0), 0, d)
