"""Bjontegaard differences of single videos, and their mean: the tests of video coding average over sequences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blear.contracts import Metric
from blear.evaluate.statistics.bjontegaard import bd_metric, bd_rate
from blear.evaluate.statistics.bootstrap import compute_statistic
from blear.evaluate.statistics.curve_fitting import isotonic_regression
from blear.evaluate.statistics.prediction_groups import GroupKey
from blear.evaluate.statistics.tested_predictions import TestedPredictions

_MIN_POINTS = 4


def mean_over_videos(
    tested: TestedPredictions, base: Sequence[GroupKey], curve: Sequence[GroupKey], metric: Metric, kind: str
) -> tuple[float | None, int]:
    """Computes the difference of two curves for each video, and the mean of those that have one.

    Decisions without a found face are left out.

    Args:
        base, curve: the groups of the points of both curves.
        kind: "rate" or "metric".

    Returns:
        The mean and the number of videos with a difference; (None, 0) where samples have no video names.
    """
    videos_N = tested.videos_N
    if videos_N is None:
        return None, 0
    (x_a, y_a), (x_b, y_b) = (_video_curves(tested, videos_N, keys, metric) for keys in (base, curve))
    enough_V = [np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1) for x, y in ((x_a, y_a), (x_b, y_b))]
    kept = enough_V[0] & enough_V[1]
    if min(len(base), len(curve)) < _MIN_POINTS or not kept.any():
        return None, 0
    x_a, y_a, x_b, y_b = (values[kept] for values in (x_a, y_a, x_b, y_b))
    sign = 1 if metric.higher_is_better else -1
    with np.errstate(all="ignore"):
        found_V = bd_rate(x_a, y_a, x_b, y_b) if kind == "rate" else sign * bd_metric(x_a, y_a, x_b, y_b)
    found_V = found_V[np.isfinite(found_V)]
    return (float(found_V.mean()), len(found_V)) if len(found_V) else (None, 0)


def _video_curves(
    tested: TestedPredictions, videos_N: np.ndarray, keys: Sequence[GroupKey], metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    """log10 of the bit rate, ascending, and the fitted metric of each video, [V, P]; NaN where undefined."""
    count, sign = int(videos_N.max()) + 1, 1 if metric.higher_is_better else -1
    x_VP, y_VP = (np.full((count, len(keys)), np.nan) for _ in range(2))
    for place, key in enumerate(keys):
        group = tested.groups[key]
        parts = [(videos_N[part.rows_N], *part.scored) for part in group.of_each_seed]
        of_N, number = videos_N[group.rows_N], len(group.rows_N)
        kbps_N, durations_N = group.kbps_A[:number], group.durations_A[:number]
        for video in np.unique(of_N):
            own = of_N == video
            known = own & np.isfinite(kbps_N)
            rate = np.average(kbps_N[known], weights=durations_N[known]) if known.any() else 0.0
            if rate > 0:
                x_VP[video, place] = np.log10(rate)
                values = [compute_statistic(metric.compute, t[of == video], p[of == video]) for of, t, p in parts]
                y_VP[video, place] = sign * np.mean(values)
    order = np.argsort(x_VP, axis=1, kind="stable")
    x_VP, y_VP = (np.take_along_axis(values, order, axis=1) for values in (x_VP, y_VP))
    whole = np.isfinite(y_VP).all(axis=1)
    y_VP[whole] = isotonic_regression(y_VP[whole])
    return x_VP, y_VP
