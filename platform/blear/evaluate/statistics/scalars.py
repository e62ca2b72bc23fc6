"""Robustness in single numbers, with intervals on the shared resamples.

Hendrycks and Dietterich 2019: mean corruption error against a pinned reference, absolute and relative to clean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.evaluate.statistics.clusters import Key
from blear.evaluate.statistics.findings import Scalar, ScalarName
from blear.evaluate.statistics.flip_rate import clip_flips
from blear.evaluate.statistics.rate_curves import Groups
from blear.evaluate.statistics.spread import Spread, combine, mean
from blear.evaluate.statistics.tested import Tested
from blear.job.schema import CLEAN
from blear.metrics import CLASSIFICATION

Errors = Mapping[str, Mapping[float, float]]
"""Condition -> severity -> error rate, `clean` among the conditions where it is known."""


_NOTHING = 1e-9


def scalars(tested: Tested, *, left_out: Collection[str] = (), pinned: str | Errors | None = None) -> list[Scalar]:
    """Robustness of every arm, over the conditions it was tested at.

    Args:
        left_out: conditions that are points of a rate-accuracy curve, which have their own numbers.
        pinned: what mCE is relative to: an arm, or error rates; None: no mCE.
    """
    out: list[Scalar] = []
    for arm in tested.arms:
        keys: dict[str, list[Key]] = {}
        for key in tested.groups:
            if key[0] == arm and key[1] != CLEAN and key[1] not in left_out:
                keys.setdefault(key[1], []).append(key)
        if keys:
            out += _of_arm(tested, arm, {c: sorted(k, key=lambda one: one[2]) for c, k in keys.items()}, pinned)
    return out


def flips(tested: Tested, predictions: pa.Table, groups: Groups) -> list[Scalar]:
    """Flip rate of every arm at the conditions whose sweep's `group` has `flips: previous` or `first`.

    Args:
        predictions: a row for each frame, of the target that is tested.

    Raises:
        RunError: the target is a value, or no clip of such a condition has two frames.
    """
    out: list[Scalar] = []
    numbers = {name: code for code, name in enumerate(tested.table[tested.kind].unique().to_pylist())}
    for condition, group in groups.items():
        if "flips" not in group:
            continue
        rows = predictions.filter(pc.equal(predictions["condition"], condition))
        clips = clip_flips(rows, "first" if group["flips"] == "first" else "previous")
        for key in (key for key in tested.groups if key[1] == condition):
            own = clips.filter(pc.and_(pc.equal(clips["arm"], key[0]), pc.equal(clips["severity"], key[2])))
            clusters_N = np.array([numbers[name] for name in own[tested.kind].to_pylist()], dtype=np.int64)
            spread = tested.resampler.mean(own["flip_rate"].to_numpy(), clusters_N)
            low, high = tested.interval(spread, key)
            arm, _, severity = key
            out.append(
                Scalar(
                    arm=arm,
                    name="flip_rate",
                    metric="flip_rate",
                    condition=condition,
                    severity=severity,
                    value=spread.value if np.isfinite(spread.value) else None,
                    low=low,
                    high=high,
                )
            )
    return out


def log_area(severities_L: np.ndarray, *values: np.ndarray) -> np.ndarray:
    """Area under a curve over the logarithm of severity (trapezoids), divided by the axis's length: a mean.

    Over a downscaling factor this is the area under the log-resolution curve, since the logarithm of the face's size
    falls as that of the factor rises.
    """
    places = np.log(severities_L)
    stacked = np.stack(values)
    widths = np.diff(places).reshape(-1, *[1] * (stacked.ndim - 1))
    return ((stacked[1:] + stacked[:-1]) / 2 * widths).sum(axis=0) / (places[-1] - places[0])


def _of_arm(tested: Tested, arm: str, keys: Mapping[str, list[Key]], pinned: str | Errors | None) -> list[Scalar]:
    metric = tested.headline
    clean = (arm, CLEAN, 0.0)
    has_clean = clean in tested.groups
    out: list[Scalar] = []

    def add(
        name: ScalarName, spread: Spread, used: list[Key], condition: str | None = None, metric_name: str = metric.name
    ) -> None:
        low, high = tested.interval(spread, *used)
        value = float(spread.value) if np.isfinite(spread.value) else None
        out.append(Scalar(arm=arm, name=name, metric=metric_name, condition=condition, value=value, low=low, high=high))

    means = {c: mean(*(tested.spread(key) for key in of)) for c, of in keys.items()}
    every = [key for of in keys.values() for key in of]
    overall = mean(*means.values())
    add("mean", overall, every)
    for condition, one in means.items():
        add("mean_condition", one, keys[condition], condition)
    if has_clean:
        base = tested.spread(clean)
        add("relative_drop", _drop(overall, base), [*every, clean])
        for condition, one in means.items():
            add("relative_drop", _drop(one, base), [*keys[condition], clean], condition)
    for condition, of in keys.items():
        severities = np.array([key[2] for key in of])
        if len(of) > 1 and severities[0] > 0:
            area = combine(_area_over(severities), *(tested.spread(key) for key in of))
            add("log_area", area, of, condition)
    out += _worst(tested, arm, every)
    if pinned is not None and tested.classes:
        out += _mce(tested, arm, keys, pinned)
    return out


def _area_over(severities: np.ndarray) -> Callable[..., np.ndarray]:
    return lambda *values: log_area(severities, *values)


def _drop(degraded: Spread, clean: Spread) -> Spread:
    return combine(lambda d, c: (c - d) / c, degraded, clean)


def _worst(tested: Tested, arm: str, keys: list[Key]) -> list[Scalar]:
    sign = 1 if tested.headline.higher_is_better else -1
    known = [key for key in keys if np.isfinite(tested.spread(key).value)]
    if not known:
        return []
    key = min(known, key=lambda one: sign * tested.spread(one).value)
    low, high = tested.interval(tested.spread(key), key)
    return [
        Scalar(
            arm=arm,
            name="worst",
            metric=tested.headline.name,
            condition=key[1],
            severity=key[2],
            value=tested.spread(key).value,
            low=low,
            high=high,
        )
    ]


def _mce(tested: Tested, arm: str, keys: Mapping[str, list[Key]], pinned: str | Errors) -> list[Scalar]:
    """mCE over the conditions of which the reference knows every severity; relative mCE where clean is known too."""
    accuracy = CLASSIFICATION[0]

    def error(key: Key) -> Spread:
        return combine(lambda a: 1 - a, tested.spread(key, accuracy))

    def reference(key: Key) -> Spread | None:
        if isinstance(pinned, str):
            other = (pinned, *key[1:])
            return error(other) if other in tested.groups else None
        known = pinned.get(key[1], {}).get(key[2])
        return None if known is None else _constant(known, tested.spread(key, accuracy))

    clean = (arm, CLEAN, 0.0)
    clean_reference = reference(clean) if clean in tested.groups else None
    absolute, relative, used = [], [], []
    for of in keys.values():
        references = [reference(key) for key in of]
        given = [one for one in references if one is not None]
        if len(given) < len(of):
            continue
        used += of
        ours, theirs = mean(*map(error, of)), mean(*given)
        absolute.append(combine(np.divide, ours, theirs))
        if clean_reference is not None:
            ratio = combine(_relative, ours, error(clean), theirs, clean_reference)
            relative.append(ratio)
    out = []
    names: list[tuple[ScalarName, list[Spread]]] = [("mce", absolute), ("relative_mce", relative)]
    for name, spreads in names:
        if spreads:
            spread = mean(*spreads)
            low, high = tested.interval(spread, *used)
            value = float(spread.value) if np.isfinite(spread.value) else None
            out.append(Scalar(arm=arm, name=name, metric="accuracy", value=value, low=low, high=high))
    return out


def _relative(error: np.ndarray, clean: np.ndarray, reference: np.ndarray, reference_clean: np.ndarray) -> np.ndarray:
    """What degradation costs over what it costs the reference; undefined where it costs the reference nothing."""
    cost = reference - reference_clean
    return np.where(cost > _NOTHING, (error - clean) / np.where(cost > _NOTHING, cost, 1), np.nan)


def _constant(value: float, like: Spread) -> Spread:
    return Spread(value, np.full_like(like.distribution_R, value), np.full_like(like.jackknife_J, value))
