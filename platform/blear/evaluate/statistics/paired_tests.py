"""Paired tests between arms: permutation test of whole clusters, bootstrap test, McNemar's test, Holm's correction.

Permutation test (Good 2005, chapter 3): if two arms are equally good, their predictions of a cluster can be swapped.
The p value counts the observed assignment as one of the permutations (Phipson and Smyth 2010); it is exact where all
permutations are computed. The test of the mean over severities applies the same permutations at all severities.
McNemar 1947, exact; Holm 1979.

With several training seeds, the p value is the inversion of the interval of the paired difference, which contains the
chance of training (`bca_p_value`; `Resampler.mean_over_seeds`). Predictions of two arms cannot be swapped in clusters
and seeds together, since the means over clusters and over seeds have variances of their own; and swaps of S pairs of
trainings alone have 2^S permutations, whose smallest p value is 0.25 for three seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from blear.evaluate.statistics.bootstrap_estimate import BootstrapEstimate, mean, paired_difference
from blear.evaluate.statistics.prediction_groups import GroupKey, PredictionGroup
from blear.evaluate.statistics.results import PairedTest, TestMethod
from blear.evaluate.statistics.tested_predictions import TestedPredictions
from blear.evaluate.statistics.thread_map import map_in_threads

_ROUNDING = 1e-12


@dataclass(frozen=True)
class _UncorrectedTest:
    arm: str
    condition: str
    severity: float | None
    difference: float
    p: float | None


def paired_tests(tested: TestedPredictions) -> list[PairedTest]:
    """Tests every other arm against the reference.

    The headline metric has a permutation test at each severity, and one of the mean over each condition's severities;
    with several training seeds, a bootstrap test. Accuracy has McNemar's test where the target has classes, every
    sample is its own cluster with one decision, and each arm has one training seed.
    """
    if tested.seeds:
        return _corrected(list(_bootstrap_tests(tested)), tested.reference, tested.headline.name, "bootstrap")
    permutation = list(_permutation_tests(tested))
    tests = _corrected(permutation, tested.reference, tested.headline.name, "permutation")
    if tested.kind == "sample" and tested.classes and not any(map(_has_repeated_samples, tested.groups.values())):
        tests += _corrected(list(_mcnemar_tests(tested)), tested.reference, "accuracy", "mcnemar")
    return tests


def holm_correction(p_T: Sequence[float]) -> list[float]:
    """Applies Holm's step-down correction to p values.

    The smallest p value is multiplied by T, the next one by T - 1, and so on; corrected values never decrease.
    """
    order = np.argsort(p_T, kind="stable")
    scaled = np.asarray(p_T, dtype=np.float64)[order] * np.arange(len(order), 0, -1)
    out = np.empty(len(order))
    out[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(p) for p in out]


def permutation_p_value(difference: float, permuted_P: np.ndarray, *, exact: bool) -> float | None:
    """Computes the two-sided p value of a difference.

    Args:
        difference: the observed difference.
        permuted_P: the difference under each permutation.
        exact: whether `permuted_P` contains all permutations.

    Returns:
        The p value; None where the difference or more than a tenth of the permutations is undefined.
    """
    defined = permuted_P[np.isfinite(permuted_P)]
    if not np.isfinite(difference) or len(defined) < 0.9 * max(len(permuted_P), 1):
        return None
    extreme = int(np.count_nonzero(np.abs(defined) >= abs(difference) - _ROUNDING))
    return extreme / len(defined) if exact else (extreme + 1) / (len(defined) + 1)


def mcnemar_p_value(correct_a_N: np.ndarray, correct_b_N: np.ndarray) -> float:
    """Computes the exact p value of McNemar's test of two arms on the same samples.

    Args:
        correct_a_N, correct_b_N: whether each arm predicts the true class, bool [N].

    Returns:
        The p value; 1 where the arms are correct on the same samples.
    """
    from scipy.special import betainc  # scipy.stats.binomtest takes a second to import

    only_a = int(np.count_nonzero(correct_a_N & ~correct_b_N))
    only_b = int(np.count_nonzero(correct_b_N & ~correct_a_N))
    if only_a == only_b:
        return 1.0
    fewer, more = sorted((only_a, only_b))
    return min(1.0, 2 * float(betainc(more, fewer + 1, 0.5)))  # P(X <= fewer) of a binomial distribution with p = 1/2


def _permutation_tests(tested: TestedPredictions) -> Iterator[_UncorrectedTest]:
    by_condition: dict[tuple[str, str], list[tuple[float, np.ndarray]]] = {}
    exact = tested.resampler.all_permutations
    comparisons = list(tested.comparisons())

    def permuted(keys: tuple[GroupKey, GroupKey]) -> np.ndarray | None:
        if not tested.resampler.resamples or not tested.has_enough_clusters(*keys):
            return None
        a, b = map(tested.found_predictions, keys)
        return tested.resampler.permutation_distribution(a, b, tested.headline)

    distributions = map_in_threads(permuted, comparisons, tested.resampler.cells)
    for (key, base), permuted_P in zip(comparisons, distributions, strict=True):
        arm, condition, severity = key
        difference = tested.estimate(key).value - tested.estimate(base).value
        p = None
        if permuted_P is not None:
            p = permutation_p_value(difference, permuted_P, exact=exact)
            by_condition.setdefault((arm, condition), []).append((difference, permuted_P))
        yield _UncorrectedTest(arm, condition, severity, difference, p)
    for (arm, condition), at_levels in by_condition.items():
        if len(at_levels) > 1:
            difference = float(np.mean([one[0] for one in at_levels]))
            p = permutation_p_value(difference, np.mean([one[1] for one in at_levels], axis=0), exact=exact)
            yield _UncorrectedTest(arm, condition, None, difference, p)


def two_sided_p_value(difference: BootstrapEstimate) -> float | None:
    """Computes the two-sided p value of a paired difference: its BCa intervals that exclude zero.

    p is below alpha if and only if the interval of confidence 1 - alpha excludes zero.

    Returns:
        The p value; None where the difference is undefined.
    """
    negated = BootstrapEstimate(-difference.value, -difference.distribution_R, -difference.jackknife_J)
    sides = [p for side in (difference, negated) if (p := side.p_above(0.0)) is not None]
    return min(1.0, 2 * min(sides)) if len(sides) == 2 else None


def _bootstrap_tests(tested: TestedPredictions) -> Iterator[_UncorrectedTest]:
    by_condition: dict[tuple[str, str], list[BootstrapEstimate]] = {}
    for key, base in tested.comparisons():
        difference, p = paired_difference(tested.estimate(key), tested.estimate(base)), None
        if tested.resampler.resamples and tested.has_enough_clusters(key, base):
            p = two_sided_p_value(difference)
            by_condition.setdefault((key[0], key[1]), []).append(difference)
        yield _UncorrectedTest(*key, difference.value, p)
    for (arm, condition), at_levels in by_condition.items():
        if len(at_levels) > 1:
            overall = mean(*at_levels)
            yield _UncorrectedTest(arm, condition, None, overall.value, two_sided_p_value(overall))


def _mcnemar_tests(tested: TestedPredictions) -> Iterator[_UncorrectedTest]:
    accuracy = tested.accuracy
    for key, base in tested.comparisons():
        correct, correct_base = _correct_on_common_samples(tested.groups[key], tested.groups[base])
        if len(correct):
            difference = tested.estimate(key, accuracy).value - tested.estimate(base, accuracy).value
            yield _UncorrectedTest(*key, difference, mcnemar_p_value(correct, correct_base))


def _has_repeated_samples(group: PredictionGroup) -> bool:
    """Whether a sample, which is a cluster, has several decisions, such as one for each of its frames."""
    return bool((np.bincount(np.concatenate([group.clusters_N, group.missed_clusters_M])) > 1).any())


def _correct_on_common_samples(a: PredictionGroup, b: PredictionGroup) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether each arm is correct, bool [N] each, on the samples where both have a found face."""
    _, in_a, in_b = np.intersect1d(a.samples_N, b.samples_N, return_indices=True)
    return (a.truth_N == a.prediction_N)[in_a], (b.truth_N == b.prediction_N)[in_b]


def _corrected(tests: Sequence[_UncorrectedTest], against: str, metric: str, method: TestMethod) -> list[PairedTest]:
    known = [one for one in tests if one.p is not None]
    corrected = {id(one): p for one, p in zip(known, holm_correction([one.p or 0.0 for one in known]), strict=True)}
    return [
        PairedTest(
            arm=one.arm,
            against=against,
            condition=one.condition,
            severity=one.severity,
            metric=metric,
            method=method,
            difference=float(one.difference) if np.isfinite(one.difference) else None,
            p=one.p,
            holm=corrected.get(id(one)),
        )
        for one in tests
    ]
