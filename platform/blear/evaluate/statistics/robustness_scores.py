"""Robustness of an arm in single numbers, with intervals from the shared resamples.

Mean corruption error, absolute and relative to clean frames: Hendrycks and Dietterich 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.evaluate.predictions import has_class_target
from blear.evaluate.statistics.bootstrap_estimate import BootstrapEstimate, combine, mean
from blear.evaluate.statistics.flip_rate import clip_flips
from blear.evaluate.statistics.prediction_groups import GroupKey
from blear.evaluate.statistics.rate_accuracy import ConditionGroups
from blear.evaluate.statistics.results import RobustnessScore, RobustnessScoreName
from blear.evaluate.statistics.tested_predictions import TestedPredictions
from blear.job.schema import CLEAN

ReferenceErrors = Mapping[str, Mapping[float, float]]
"""Condition -> severity -> error rate; the condition `clean` where its error rate is known."""

_MIN_COST = 1e-9


def robustness_scores(
    tested: TestedPredictions, *, excluded: Collection[str] = (), mce_reference: str | ReferenceErrors | None = None
) -> list[RobustnessScore]:
    """Computes the robustness scores of every arm over its degraded conditions.

    Args:
        excluded: conditions to leave out: the points of rate-accuracy curves, which have their own scores.
        mce_reference: reference of the mean corruption error: the label of an arm, or error rates. None: no mCE.
    """
    out: list[RobustnessScore] = []
    for arm in tested.arms:
        keys: dict[str, list[GroupKey]] = {}
        for key in tested.groups:
            if key[0] == arm and key[1] != CLEAN and key[1] not in excluded:
                keys.setdefault(key[1], []).append(key)
        if keys:
            ascending = {condition: sorted(of, key=lambda one: one[2]) for condition, of in keys.items()}
            out += _arm_scores(tested, arm, ascending, mce_reference)
    return out


def flip_rate_scores(
    tested: TestedPredictions, predictions: pa.Table, groups: ConditionGroups
) -> list[RobustnessScore]:
    """Computes the flip rate of every arm at the conditions whose `group` has `flips: previous` or `flips: first`.

    Args:
        predictions: one row for each frame, of the tested target.

    Returns:
        The scores; none for a regression target beside a target with classes.

    Raises:
        RunError: no target has classes, or no clip of such a condition has two frames.
    """
    out: list[RobustnessScore] = []
    if not tested.classes and has_class_target(predictions):
        return out
    cluster_index = {name: code for code, name in enumerate(tested.table[tested.kind].unique().to_pylist())}
    for condition, group in groups.items():
        if "flips" not in group:
            continue
        rows = predictions.filter(pc.equal(predictions["condition"], condition))
        clips = clip_flips(rows, "first" if group["flips"] == "first" else "previous")
        for key in (key for key in tested.groups if key[1] == condition):
            own = clips.filter(pc.and_(pc.equal(clips["arm"], key[0]), pc.equal(clips["severity"], key[2])))
            clusters_N = np.array([cluster_index[name] for name in own[tested.kind].to_pylist()], dtype=np.int64)
            if not own.num_rows:  # a model of single frames has no flips
                continue
            rate_N, seed_N = own["flip_rate"].to_numpy(), own["seed"].to_numpy()
            estimate = tested.resampler.mean_over_seeds(
                [tested.resampler.mean(rate_N[seed_N == s], clusters_N[seed_N == s]) for s in np.unique(seed_N)]
            )
            low, high = tested.interval(estimate, key)
            arm, _, severity = key
            out.append(
                RobustnessScore(
                    arm=arm,
                    name="flip_rate",
                    metric="flip_rate",
                    condition=condition,
                    severity=severity,
                    value=_finite(estimate.value),
                    low=low,
                    high=high,
                )
            )
    return out


def log_area(severities_L: np.ndarray, *values: np.ndarray) -> np.ndarray:
    """Computes the mean of a curve over the logarithm of severity: area (trapezoids) divided by the axis length.

    For a downscaling factor this equals the mean over the logarithm of resolution, because the logarithm of the face
    size decreases as the logarithm of the factor increases.

    Args:
        severities_L: L ascending severities above 0.
        values: L arrays of the same shape.
    """
    x_L = np.log(severities_L)
    stacked = np.stack(values)
    widths = np.diff(x_L).reshape(-1, *[1] * (stacked.ndim - 1))
    return ((stacked[1:] + stacked[:-1]) / 2 * widths).sum(axis=0) / (x_L[-1] - x_L[0])


def _arm_scores(
    tested: TestedPredictions,
    arm: str,
    keys: Mapping[str, list[GroupKey]],
    mce_reference: str | ReferenceErrors | None,
) -> list[RobustnessScore]:
    clean = (arm, CLEAN, 0.0)
    out: list[RobustnessScore] = []

    def add(
        name: RobustnessScoreName, estimate: BootstrapEstimate, used: list[GroupKey], condition: str | None = None
    ) -> None:
        out.append(_score(tested, arm, name, tested.headline.name, estimate, used, condition))

    means = {c: mean(*(tested.estimate(key) for key in of)) for c, of in keys.items()}
    every = [key for of in keys.values() for key in of]
    overall = mean(*means.values())
    add("mean", overall, every)
    for condition, one in means.items():
        add("mean_condition", one, keys[condition], condition)
    if clean in tested.groups:
        base = tested.estimate(clean)
        add("relative_drop", _relative_drop(overall, base), [*every, clean])
        for condition, one in means.items():
            add("relative_drop", _relative_drop(one, base), [*keys[condition], clean], condition)
    for condition, of in keys.items():
        severities = np.array([key[2] for key in of])
        if len(of) > 1 and severities[0] > 0:
            add("log_area", combine(_log_area_over(severities), *(tested.estimate(key) for key in of)), of, condition)
    out += _worst(tested, arm, every)
    if mce_reference is not None and tested.classes:
        out += _mean_corruption_error(tested, arm, keys, mce_reference)
    return out


def _score(
    tested: TestedPredictions,
    arm: str,
    name: RobustnessScoreName,
    metric: str,
    estimate: BootstrapEstimate,
    used: list[GroupKey],
    condition: str | None = None,
) -> RobustnessScore:
    """A score with its interval; `used` are the groups that it is computed from."""
    low, high = tested.interval(estimate, *used)
    value = _finite(estimate.value)
    return RobustnessScore(arm=arm, name=name, metric=metric, condition=condition, value=value, low=low, high=high)


def _log_area_over(severities: np.ndarray) -> Callable[..., np.ndarray]:
    return lambda *values: log_area(severities, *values)


def _relative_drop(degraded: BootstrapEstimate, clean: BootstrapEstimate) -> BootstrapEstimate:
    return combine(lambda d, c: (c - d) / c, degraded, clean)


def _worst(tested: TestedPredictions, arm: str, keys: list[GroupKey]) -> list[RobustnessScore]:
    sign = 1 if tested.headline.higher_is_better else -1
    known = [key for key in keys if np.isfinite(tested.estimate(key).value)]
    if not known:
        return []
    key = min(known, key=lambda one: sign * tested.estimate(one).value)
    low, high = tested.interval(tested.estimate(key), key)
    return [
        RobustnessScore(
            arm=arm,
            name="worst",
            metric=tested.headline.name,
            condition=key[1],
            severity=key[2],
            value=tested.estimate(key).value,
            low=low,
            high=high,
        )
    ]


def _mean_corruption_error(
    tested: TestedPredictions, arm: str, keys: Mapping[str, list[GroupKey]], mce_reference: str | ReferenceErrors
) -> list[RobustnessScore]:
    """Computes mCE and relative mCE of an arm.

    mCE covers the conditions where the reference error of every severity is known. Relative mCE also needs the clean
    error of the reference.
    """
    accuracy = tested.accuracy

    def error(key: GroupKey) -> BootstrapEstimate:
        return combine(lambda a: 1 - a, tested.estimate(key, accuracy))

    def reference_error(key: GroupKey) -> BootstrapEstimate | None:
        if isinstance(mce_reference, str):
            other = (mce_reference, *key[1:])
            return error(other) if other in tested.groups else None
        known = mce_reference.get(key[1], {}).get(key[2])
        return None if known is None else _constant(known, tested.estimate(key, accuracy))

    clean = (arm, CLEAN, 0.0)
    clean_reference = reference_error(clean) if clean in tested.groups else None
    absolute, relative, used = [], [], []
    for of in keys.values():
        references = [one for one in map(reference_error, of) if one is not None]
        if len(references) < len(of):
            continue
        used += of
        arm_error, base_error = mean(*map(error, of)), mean(*references)
        absolute.append(combine(np.divide, arm_error, base_error))
        if clean_reference is not None:
            relative.append(combine(_relative_cost, arm_error, error(clean), base_error, clean_reference))
    named: list[tuple[RobustnessScoreName, list[BootstrapEstimate]]] = [("mce", absolute), ("relative_mce", relative)]
    return [_score(tested, arm, name, "accuracy", mean(*of), used) for name, of in named if of]


def _relative_cost(
    error: np.ndarray, clean: np.ndarray, reference: np.ndarray, reference_clean: np.ndarray
) -> np.ndarray:
    """The added error of the arm divided by the added error of the reference; NaN where the reference adds none."""
    cost = reference - reference_clean
    return np.where(cost > _MIN_COST, (error - clean) / np.where(cost > _MIN_COST, cost, 1), np.nan)


def _constant(value: float, like: BootstrapEstimate) -> BootstrapEstimate:
    return BootstrapEstimate(value, np.full_like(like.distribution_R, value), np.full_like(like.jackknife_J, value))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
