"""Rate-accuracy: a metric against bit rate, and Bjontegaard differences between curves.

Bjontegaard 2001 (VCEG-M33), with the monotone cubic of later practice (PCHIP, on isotonic-regressed points) and rates
on a logarithmic axis. Curves are resampled whole, rates and metric on the same clusters, so that intervals are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from blear.contracts import Metric
from blear.evaluate.statistics.clusters import Key
from blear.evaluate.statistics.findings import BdNumber, RateCurve, RatePoint
from blear.evaluate.statistics.monotone import integral, isotonic, rising, upper_hull
from blear.evaluate.statistics.spread import Spread
from blear.evaluate.statistics.tested import Tested

Groups = Mapping[str, Mapping[str, str | int | float]]
"""Condition -> what the job's sweep says in `group`."""

HULL = "hull"
_FEWEST, _ENOUGH = 4, 6
_ROUNDING = 1e-9
_BLOCK = 64


@dataclass(frozen=True)
class _Curve:
    """Points of one arm, codec and factor: log10 of the rate and the metric, better = higher, [R, P] each.

    The first row is of all samples, then those of the resamples, then those of the jackknife.
    """

    arm: str
    codec: str
    factor: str
    metric: Metric
    keys: list[Key]
    rates: list[Spread]
    values: list[Spread]
    x_RP: np.ndarray
    y_RP: np.ndarray

    @property
    def fitted_RP(self) -> np.ndarray:
        """The monotone curve at its places."""
        return isotonic(self.y_RP) if self.factor != HULL else self.y_RP


def rates(tested: Tested, groups: Groups) -> tuple[list[RateCurve], list[BdNumber]]:
    """Curves and differences of every metric over the conditions that have a bit rate.

    Differences: each other arm against the reference, on the same codec and factor and between their hulls; each arm's
    other factors against its first one.

    Args:
        groups: `codec` names the codec (else the condition is one of its own); the other entries name the factor.
    """
    curves: list[RateCurve] = []
    differences: list[BdNumber] = []
    for metric in tested.metrics:
        found = [*_curves(tested, groups, metric)]
        hulls = [*_hulls(found)]
        curves += [_reported(tested, curve) for curve in [*found, *hulls]]
        for arm, base in _pairs(found, hulls, tested.reference):
            differences += [_difference(tested, arm, base, "rate"), _difference(tested, arm, base, "metric")]
    return curves, differences


def named(condition: str, group: Mapping[str, str | int | float]) -> tuple[str, str]:
    """(codec, factor) of a condition."""
    factor = ", ".join(f"{key} {value}" for key, value in group.items() if key not in ("codec", "flips"))
    return str(group.get("codec", condition)), factor


def bd_metric(x_a: np.ndarray, y_a: np.ndarray, x_b: np.ndarray, y_b: np.ndarray) -> np.ndarray:
    """Mean of curve b minus curve a over the log-rates that both have, [...]; NaN where there are none.

    Args:
        x_a, x_b: log10 of the rates, ascending, [..., P].
        y_a, y_b: the metric, never falling, [..., P].
    """
    return _mean_gap(rising(x_a), y_a, rising(x_b), y_b)


def bd_rate(x_a: np.ndarray, y_a: np.ndarray, x_b: np.ndarray, y_b: np.ndarray) -> np.ndarray:
    """Bits of b over those of a at equal metric, as a per cent change, [...]; NaN where no value is reached by both."""
    change = (10 ** _mean_gap(rising(y_a), x_a, rising(y_b), x_b) - 1) * 100
    return np.where(_flat(y_a) | _flat(y_b), np.nan, change)


def _flat(y_P: np.ndarray) -> np.ndarray:
    """Whether a curve does not rise, but for rounding."""
    return np.ptp(y_P, axis=-1) <= _ROUNDING


def _mean_gap(x_a: np.ndarray, y_a: np.ndarray, x_b: np.ndarray, y_b: np.ndarray) -> np.ndarray:
    low, high = np.maximum(x_a[..., 0], x_b[..., 0]), np.minimum(x_a[..., -1], x_b[..., -1])
    both = high > low
    with np.errstate(all="ignore"):
        gap = integral(x_b, y_b, low, high) - integral(x_a, y_a, low, high)
        return np.where(both, gap / np.where(both, high - low, 1), np.nan)


def _curves(tested: Tested, groups: Groups, metric: Metric) -> Iterator[_Curve]:
    places: dict[tuple[str, str, str], list[Key]] = {}
    for key, group in tested.groups.items():
        if group.kbps is not None and group.kbps > 0:
            codec, factor = named(key[1], groups.get(key[1], {}))
            places.setdefault((codec, key[0], factor), []).append(key)
    for (codec, arm, factor), keys in places.items():
        kbps = {key: _kbps(tested, key) for key in keys}
        keys = sorted(keys, key=lambda key: kbps[key].value)
        rate, value = [kbps[key] for key in keys], [tested.spread(key, metric) for key in keys]
        sign = 1 if metric.higher_is_better else -1
        with np.errstate(all="ignore"):
            x_RP, y_RP = np.log10(_stacked(rate)), sign * _stacked(value)
        order = np.argsort(x_RP, axis=-1, kind="stable")
        x_RP, y_RP = (np.take_along_axis(each, order, axis=-1) for each in (x_RP, y_RP))
        yield _Curve(arm, codec, factor, metric, keys, rate, value, x_RP, y_RP)


def _kbps(tested: Tested, key: Key) -> Spread:
    group = tested.groups[key]
    known = np.isfinite(group.kbps_A)
    return tested.resampler.mean(group.kbps_A[known], group.with_missed()[2][known])


def _stacked(spreads: list[Spread]) -> np.ndarray:
    return np.stack([np.concatenate([[s.value], s.distribution_R, s.jackknife_J]) for s in spreads], axis=-1)


def _hulls(curves: list[_Curve]) -> Iterator[_Curve]:
    """The upper hull over all factors of each (arm, codec) that has several."""
    together: dict[tuple[str, str], list[_Curve]] = {}
    for curve in curves:
        together.setdefault((curve.arm, curve.codec), []).append(curve)
    for (arm, codec), of in together.items():
        if len(of) < 2:
            continue
        places = [(k, r, v) for curve in of for k, r, v in zip(curve.keys, curve.rates, curve.values, strict=True)]
        places.sort(key=lambda place: place[1].value)
        x_RP = np.concatenate([curve.x_RP for curve in of], axis=-1)
        y_RP = np.concatenate([curve.y_RP for curve in of], axis=-1)
        order = np.argsort(x_RP, axis=-1, kind="stable")
        x_RP, y_RP = (np.take_along_axis(each, order, axis=-1) for each in (x_RP, y_RP))
        blocks = range(0, len(x_RP), _BLOCK)
        hull_RP = np.concatenate([upper_hull(x_RP[i : i + _BLOCK], y_RP[i : i + _BLOCK]) for i in blocks])
        keys, rate, value = (list(column) for column in zip(*places, strict=True))
        yield _Curve(arm, codec, HULL, of[0].metric, keys, rate, value, x_RP, hull_RP)


def _pairs(curves: list[_Curve], hulls: list[_Curve], reference: str) -> Iterator[tuple[_Curve, _Curve]]:
    """(curve, what it is compared with)."""
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


def _difference(tested: Tested, curve: _Curve, base: _Curve, kind: str) -> BdNumber:
    sign = 1 if curve.metric.higher_is_better else -1
    x_a, y_a, x_b, y_b = base.x_RP, base.fitted_RP, curve.x_RP, curve.fitted_RP
    undefined = _undefined(base, curve, kind)
    value, low, high = None, None, None
    if not undefined:
        all_R = bd_rate(x_a, y_a, x_b, y_b) if kind == "rate" else sign * bd_metric(x_a, y_a, x_b, y_b)
        resamples = tested.resampler.resamples
        spread = Spread(float(all_R[0]), all_R[1 : 1 + resamples], all_R[1 + resamples :])
        value = spread.value
        low, high = tested.interval(spread, *curve.keys, *base.keys)
    return BdNumber(
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
    )


def _undefined(a: _Curve, b: _Curve, kind: str) -> str:
    """Why there is no difference on all samples; empty where there is one."""
    for curve in (a, b):
        if len(curve.keys) < _FEWEST:
            return f"{len(curve.keys)} points of {curve.arm}, {_FEWEST} are needed"
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
        what = f"no {a.metric.label} is reached by both"
        unit = ""
        for curve in (a, b):
            if _flat(curve.fitted_RP[0]):
                return f"{a.metric.label} of {curve.arm} does not grow with the rate"
    ends = [sorted(span) for span in spans]
    if max(end[0] for end in ends) < min(end[1] for end in ends):
        return ""
    shown = " and ".join(f"{low:.4g} to {high:.4g}{unit}" for low, high in ends)
    return f"{what}: {shown}"


def _reported(tested: Tested, curve: _Curve) -> RateCurve:
    sign = 1 if curve.metric.higher_is_better else -1
    points = []
    for p, (key, rate, value) in enumerate(zip(curve.keys, curve.rates, curve.values, strict=True)):
        fitted = sign * float(curve.fitted_RP[0, p])
        if curve.factor == HULL and not np.isclose(fitted, value.value):
            continue  # below the hull
        low, high = tested.interval(value, key)
        points.append(
            RatePoint(
                condition=key[1],
                severity=key[2],
                kbps=rate.value,
                value=value.value if np.isfinite(value.value) else None,
                low=low,
                high=high,
                fitted=fitted if np.isfinite(fitted) else None,
            )
        )
    return RateCurve(
        arm=curve.arm,
        codec=curve.codec,
        factor=curve.factor,
        metric=curve.metric.name,
        points=points,
        enough=len(curve.keys) >= _ENOUGH,
    )
