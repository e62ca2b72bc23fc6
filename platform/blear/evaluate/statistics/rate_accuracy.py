"""Rate-accuracy curves: a metric against bit rate for each arm and codec, and Bjontegaard differences between curves.

Mean rates are weighted by duration: bits of all decisions divided by their duration. Rates and metrics of a curve are
resampled together on the same clusters, so that differences of curves are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from blear.contracts import Metric
from blear.evaluate.statistics.bjontegaard import bd_metric, bd_rate, cubic_bd, is_constant
from blear.evaluate.statistics.bootstrap_estimate import BootstrapEstimate
from blear.evaluate.statistics.curve_fitting import isotonic_regression, upper_concave_hull
from blear.evaluate.statistics.prediction_groups import GroupKey
from blear.evaluate.statistics.results import BjontegaardDelta, RateAccuracyCurve, RateAccuracyPoint
from blear.evaluate.statistics.tested_predictions import TestedPredictions
from blear.evaluate.statistics.video_curves import mean_over_videos

ConditionGroups = Mapping[str, Mapping[str, str | int | float]]
"""Condition -> the entry `group` of its sweep in the job."""

HULL = "hull"
_MIN_POINTS, _ENOUGH_POINTS = 4, 6
_RESAMPLES_PER_BLOCK = 64


@dataclass(frozen=True)
class _Curve:
    """P points of one arm, codec and factor.

    Attributes:
        keys, rates, values: group, bit rate in kbit/s and metric of each point.
        x_RP: log10 of the bit rate. The first row is of all samples, the next rows are of the bootstrap resamples, the
            last rows are of the jackknife.
        y_RP: the metric in the same rows, negated where lower is better.
    """

    arm: str
    codec: str
    factor: str
    metric: Metric
    keys: list[GroupKey]
    rates: list[BootstrapEstimate]
    values: list[BootstrapEstimate]
    x_RP: np.ndarray
    y_RP: np.ndarray

    @property
    def fitted_RP(self) -> np.ndarray:
        """The metric after isotonic regression; a hull is monotone already."""
        return isotonic_regression(self.y_RP) if self.factor != HULL else self.y_RP


def rate_accuracy(
    tested: TestedPredictions, groups: ConditionGroups
) -> tuple[list[RateAccuracyCurve], list[BjontegaardDelta]]:
    """Computes curves and Bjontegaard differences of every metric over the conditions with a bit rate.

    Differences: each other arm against the reference at the same codec and factor, and between their hulls; each other
    factor of an arm against the arm's first factor.

    Args:
        groups: the entry `codec` names the codec (without it, the condition is a codec of its own); the other entries
            name the factor.
    """
    curves: list[RateAccuracyCurve] = []
    differences: list[BjontegaardDelta] = []
    for metric in tested.metrics:
        found = [*_curves(tested, groups, metric)]
        hulls = [*_hulls(found)]
        curves += [_reported(tested, curve) for curve in [*found, *hulls]]
        for curve, base in _pairs(found, hulls, tested.reference):
            differences += [_difference(tested, curve, base, "rate"), _difference(tested, curve, base, "metric")]
    return curves, differences


def codec_and_factor(condition: str, group: Mapping[str, str | int | float]) -> tuple[str, str]:
    """Returns (codec, factor) of a condition, for example ("h264", "shrink 2")."""
    factor = ", ".join(f"{key} {value}" for key, value in group.items() if key not in ("codec", "flips"))
    return str(group.get("codec", condition)), factor


def _curves(tested: TestedPredictions, groups: ConditionGroups, metric: Metric) -> Iterator[_Curve]:
    points: dict[tuple[str, str, str], list[GroupKey]] = {}
    for key, group in tested.groups.items():
        if group.kbps is not None and group.kbps > 0:
            codec, factor = codec_and_factor(key[1], groups.get(key[1], {}))
            points.setdefault((codec, key[0], factor), []).append(key)
    for (codec, arm, factor), keys in points.items():
        kbps = {key: _mean_kbps(tested, key) for key in keys}
        keys = sorted(keys, key=lambda key: kbps[key].value)
        rates, values = [kbps[key] for key in keys], [tested.estimate(key, metric) for key in keys]
        sign = 1 if metric.higher_is_better else -1
        with np.errstate(all="ignore"):
            x_RP, y_RP = _sorted_by_rate(np.log10(_stacked(rates)), sign * _stacked(values))
        yield _Curve(arm, codec, factor, metric, keys, rates, values, x_RP, y_RP)


def _mean_kbps(tested: TestedPredictions, key: GroupKey) -> BootstrapEstimate:
    group = tested.groups[key]
    known = np.isfinite(group.kbps_A)
    return tested.resampler.mean(group.kbps_A[known], group.with_missed()[2][known], group.durations_A[known])


def _stacked(estimates: list[BootstrapEstimate]) -> np.ndarray:
    return np.stack([np.concatenate([[s.value], s.distribution_R, s.jackknife_J]) for s in estimates], axis=-1)


def _sorted_by_rate(x_RP: np.ndarray, y_RP: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(x_RP, axis=-1, kind="stable")
    return np.take_along_axis(x_RP, order, axis=-1), np.take_along_axis(y_RP, order, axis=-1)


def _hulls(curves: list[_Curve]) -> Iterator[_Curve]:
    """Yields the upper hull over all factors of each (arm, codec) with several factors."""
    by_codec: dict[tuple[str, str], list[_Curve]] = {}
    for curve in curves:
        by_codec.setdefault((curve.arm, curve.codec), []).append(curve)
    for (arm, codec), of in by_codec.items():
        if len(of) < 2:
            continue
        points = [(k, r, v) for curve in of for k, r, v in zip(curve.keys, curve.rates, curve.values, strict=True)]
        points.sort(key=lambda point: point[1].value)
        x_RP, y_RP = _sorted_by_rate(
            np.concatenate([curve.x_RP for curve in of], axis=-1), np.concatenate([curve.y_RP for curve in of], axis=-1)
        )
        blocks = [slice(i, i + _RESAMPLES_PER_BLOCK) for i in range(0, len(x_RP), _RESAMPLES_PER_BLOCK)]
        hull_RP = np.concatenate([upper_concave_hull(x_RP[block], y_RP[block]) for block in blocks])
        keys, rates, values = (list(column) for column in zip(*points, strict=True))
        yield _Curve(arm, codec, HULL, of[0].metric, keys, rates, values, x_RP, hull_RP)


def _pairs(curves: list[_Curve], hulls: list[_Curve], reference: str) -> Iterator[tuple[_Curve, _Curve]]:
    """Yields (curve, the curve that it is compared with)."""
    known = {(c.arm, c.codec, c.factor): c for c in [*curves, *hulls]}
    first: dict[tuple[str, str], _Curve] = {}
    for curve in [*curves, *hulls]:
        base = known.get((reference, curve.codec, curve.factor))
        if curve.arm != reference and base is not None:
            yield curve, base
    for curve in curves:
        own = first.setdefault((curve.arm, curve.codec), curve)
        if own is not curve:
            yield curve, own


def _difference(tested: TestedPredictions, curve: _Curve, base: _Curve, kind: str) -> BjontegaardDelta:
    sign = 1 if curve.metric.higher_is_better else -1
    x_a, y_a, x_b, y_b = base.x_RP, base.fitted_RP, curve.x_RP, curve.fitted_RP
    undefined = _undefined(base, curve, kind)
    value, low, high = None, None, None
    if not undefined:
        all_R = bd_rate(x_a, y_a, x_b, y_b) if kind == "rate" else sign * bd_metric(x_a, y_a, x_b, y_b)
        resamples = tested.resampler.resamples
        estimate = BootstrapEstimate(float(all_R[0]), all_R[1 : 1 + resamples], all_R[1 + resamples :])
        value = estimate.value
        low, high = tested.interval(estimate, *curve.keys, *base.keys)
    cubic, per_video, videos = None, None, 0
    if HULL not in (curve.factor, base.factor):  # a hull is piecewise linear, and not of one video
        cubic = cubic_bd(x_a[0], base.y_RP[0], x_b[0], curve.y_RP[0], kind)
        cubic = cubic if cubic is None or kind == "rate" else sign * cubic
        per_video, videos = mean_over_videos(tested, base.keys, curve.keys, curve.metric, kind)
    return BjontegaardDelta(
        arm=curve.arm,
        against=base.arm,
        codec=curve.codec,
        factor=curve.factor,
        against_factor=base.factor,
        metric=curve.metric.name,
        kind="rate" if kind == "rate" else "metric",
        value=value,
        low=low,
        high=high,
        undefined=undefined,
        cubic=cubic,
        per_video=per_video,
        videos=videos,
    )


def _undefined(a: _Curve, b: _Curve, kind: str) -> str:
    """Returns the reason why two curves have no difference on all samples; empty where they have one."""
    for curve in (a, b):
        if len(curve.keys) < _MIN_POINTS:
            return f"{curve.arm} has {len(curve.keys)} points, {_MIN_POINTS} are needed"
        if not np.isfinite(curve.y_RP[0]).all():
            return f"{curve.metric.label} of {curve.arm} is undefined at a point"
    axes = [(c.x_RP[0], c.fitted_RP[0]) for c in (a, b)]
    if kind == "metric":
        spans = [(10 ** x[0], 10 ** x[-1]) for x, _ in axes]
        what = "the bit rates do not overlap"
        unit = " kbit/s"
    else:
        sign = 1 if a.metric.higher_is_better else -1
        spans = [(sign * y[0], sign * y[-1]) for _, y in axes]
        what = f"the curves reach no common {a.metric.label}"
        unit = ""
        for curve in (a, b):
            if is_constant(curve.fitted_RP[0]):
                return f"{a.metric.label} of {curve.arm} does not increase with the bit rate"
    ends = [sorted(span) for span in spans]
    if max(end[0] for end in ends) < min(end[1] for end in ends):
        return ""
    shown = " and ".join(f"{low:.4g} to {high:.4g}{unit}" for low, high in ends)
    return f"{what}: {shown}"


def _reported(tested: TestedPredictions, curve: _Curve) -> RateAccuracyCurve:
    sign = 1 if curve.metric.higher_is_better else -1
    points = []
    for p, (key, rate, value) in enumerate(zip(curve.keys, curve.rates, curve.values, strict=True)):
        fitted = sign * float(curve.fitted_RP[0, p])
        if curve.factor == HULL and not np.isclose(fitted, value.value):
            continue  # below the hull
        low, high = tested.interval(value, key)
        points.append(
            RateAccuracyPoint(
                condition=key[1],
                severity=key[2],
                kbps=rate.value,
                value=value.value if np.isfinite(value.value) else None,
                low=low,
                high=high,
                fitted=fitted if np.isfinite(fitted) else None,
            )
        )
    return RateAccuracyCurve(
        arm=curve.arm,
        codec=curve.codec,
        factor=curve.factor,
        metric=curve.metric.name,
        points=points,
        enough=len(curve.keys) >= _ENOUGH_POINTS,
    )
