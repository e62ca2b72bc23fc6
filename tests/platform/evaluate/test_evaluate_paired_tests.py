"""Paired tests against scipy, enumerations by hand and the published example of Holm."""

import itertools

import numpy as np
import pytest
import scipy.stats
from evaluated import classes, make_tested, noisy_predictions, values

from blear.contracts import Metric
from blear.evaluate.statistics.bootstrap_estimate import BootstrapEstimate
from blear.evaluate.statistics.equivalence import equivalence_tests, tost_p_value
from blear.evaluate.statistics.paired_tests import (
    holm_correction,
    mcnemar_p_value,
    paired_tests,
    permutation_p_value,
)


def test_holm_by_hand():
    """p of Holm's procedure as R's p.adjust gives it for these five."""
    assert holm_correction([0.01, 0.04, 0.03, 0.005, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.5])
    assert holm_correction([0.6, 0.7]) == [1.0, 1.0]
    assert holm_correction([]) == []


def test_mcnemar_is_the_exact_binomial_test_of_differing_samples():
    right_a = np.array([True] * 12 + [False] * 3 + [True] * 40 + [False] * 5)
    right_b = np.array([False] * 12 + [True] * 3 + [True] * 40 + [False] * 5)
    assert mcnemar_p_value(right_a, right_b) == pytest.approx(2 * scipy.stats.binom.cdf(3, 15, 0.5))
    assert mcnemar_p_value(right_a, right_a) == 1.0


def test_permutations_of_few_clusters_equal_scipys_exact_test():
    """Mean error of two arms over eight subjects: for a mean, a permutation changes the signs of differences."""
    rng = np.random.default_rng(2)
    truth, subjects = np.zeros(8), [f"p{i}" for i in range(8)]
    a, b = rng.normal(size=8), rng.normal(0.8, 1, size=8)
    mean_error = Metric("mean", "Mean", lambda t, p: float((p - t).mean()), False)
    found = paired_tests(
        make_tested(
            values("a", 1, truth, a, subjects=subjects),
            values("b", 1, truth, b, subjects=subjects),
            metrics=[mean_error],
        )
    )
    (one,) = found
    expected = scipy.stats.permutation_test(
        (b, a), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", vectorized=True
    )
    assert one.difference == pytest.approx((b - a).mean())
    assert one.p == pytest.approx(expected.pvalue)
    assert (one.method, one.holm) == ("permutation", one.p)


def test_random_permutations_are_near_the_exact_p():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=14)
    a, b = noisy_predictions(rng, truth, 0.5), noisy_predictions(rng, truth, 0.9)
    found = {t.method: t for t in paired_tests(make_tested(classes("a", 1, truth, a), classes("b", 1, truth, b)))}
    gain = (b == truth).astype(int) - (a == truth)
    moved = np.array([np.dot(signs, gain) for signs in itertools.product([-1, 1], repeat=14)])
    exact = (np.abs(moved) >= abs(gain.sum())).mean()
    assert found["permutation"].p == pytest.approx(exact, abs=0.015)
    assert found["mcnemar"].p == pytest.approx(exact)  # for accuracy the two are the same test


def test_the_mean_over_severities_has_more_power_and_shares_the_correction():
    rng = np.random.default_rng(1)
    truth = rng.integers(3, size=300)
    tables = [
        classes(
            arm, severity, truth, noisy_predictions(rng, truth, right), subjects=[f"p{i // 10}" for i in range(300)]
        )
        for severity in (1, 2, 3, 4)
        for arm, right in (("a", 0.60), ("b", 0.66))
    ]
    found = paired_tests(make_tested(*tables))
    assert [t.severity for t in found] == [1, 2, 3, 4, None]  # no McNemar: rows of a subject are not independent
    assert found[-1].difference == pytest.approx(np.mean([t.difference for t in found[:4]]))
    assert found[-1].p < min(t.p for t in found[:4])
    assert [t.holm for t in found] == holm_correction([t.p for t in found])


def test_equal_arms_have_p_1_and_two_clusters_have_no_p():
    truth = np.arange(40) % 3
    same = make_tested(classes("a", 1, truth, truth), classes("b", 1, truth, truth))
    assert [(t.difference, t.p) for t in paired_tests(same)] == [(0, 1.0), (0, 1.0)]
    few = [classes(arm, 1, truth, truth, subjects=["p", "q"] * 20) for arm in "ab"]
    assert [(t.p, t.holm) for t in paired_tests(make_tested(*few))] == [(None, None)]


def test_mcnemar_needs_one_decision_of_each_sample():
    """Three frames of each sample: their decisions are not independent, and the first frame is not the sample."""
    truth = np.arange(30) % 3
    wrong = (truth + 1) % 3
    frames = [classes("a", 1, truth, truth) for _ in range(3)]
    frames += [classes("b", 1, truth, one) for one in (truth, wrong, wrong)]
    found = paired_tests(make_tested(*frames))
    assert [(t.method, t.difference) for t in found] == [("permutation", pytest.approx(-2 / 3))]
    assert found[0].p < 0.001
    single = paired_tests(make_tested(*frames[::3]))
    assert [t.method for t in single] == ["permutation", "mcnemar"]


def test_the_p_value_counts_the_observed_permutation():
    assert permutation_p_value(2.0, np.array([1.0, -2.0, 0.5]), exact=False) == 2 / 4
    assert permutation_p_value(2.0, np.array([2.0, -2.0, 0.5, 0.5]), exact=True) == 2 / 4
    assert permutation_p_value(np.nan, np.array([1.0]), exact=True) is None
    assert permutation_p_value(1.0, np.array([np.nan, 1.0]), exact=True) is None


def test_tost_is_near_the_t_test_for_a_mean():
    """Two one-sided t tests of 200 differences against +- 0.2."""
    gaps = np.random.default_rng(5).normal(0.05, 1, 200)
    draws = np.random.default_rng(0).integers(200, size=(4000, 200))
    p = tost_p_value(BootstrapEstimate(gaps.mean(), gaps[draws].mean(axis=1), np.empty(0)), 0.2)
    low = scipy.stats.ttest_1samp(gaps, -0.2, alternative="greater").pvalue
    high = scipy.stats.ttest_1samp(gaps, 0.2, alternative="less").pvalue
    assert p == pytest.approx(max(low, high), abs=0.01)
    assert tost_p_value(BootstrapEstimate(np.nan, np.ones(5), np.empty(0)), 0.2) is None
    assert tost_p_value(BootstrapEstimate(0.0, np.empty(0), np.empty(0)), 0.2) is None


def test_tost_agrees_with_the_interval_of_the_same_confidence():
    """Means of 25 skewed differences against three margins: the p value is below alpha if the interval is inside."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(400):
        gaps = rng.exponential(1, 25) - 1
        draws = rng.integers(25, size=(1000, 25))
        estimate = BootstrapEstimate(gaps.mean(), gaps[draws].mean(axis=1), (gaps.sum() - gaps) / 24)
        for margin, alpha in itertools.product((0.3, 0.4, 0.5), (0.05, 0.1)):
            low, high = estimate.interval(1 - 2 * alpha)
            assert (-margin < low and high < margin) == (tost_p_value(estimate, margin) < alpha)
            inside += -margin < low and high < margin
    assert 200 < inside < 2200


def test_tost_agrees_with_the_interval_of_few_distinct_values():
    rng = np.random.default_rng(1)
    for _ in range(300):
        gaps = rng.choice([-1.0, 0.0, 1.0], 12, p=[0.1, 0.7, 0.2])
        draws = rng.integers(12, size=(199, 12))
        estimate = BootstrapEstimate(gaps.mean(), gaps[draws].mean(axis=1), (gaps.sum() - gaps) / 11)
        low, high = estimate.interval(0.9)
        assert (low > -0.25 and high < 0.25) == (tost_p_value(estimate, 0.25) < 0.05)
    few = BootstrapEstimate(0.0, np.linspace(-0.1, 0.1, 19), np.empty(0))
    assert tost_p_value(few, 0.5) is None  # 19 resamples reach no p value below 5 %


def test_equivalence_at_all_levels_has_the_largest_p():
    rng = np.random.default_rng(3)
    truth = rng.integers(3, size=400)
    one, weak = noisy_predictions(rng, truth, 0.8), noisy_predictions(rng, truth, 0.7)
    nearly = np.where(rng.random(400) < 0.01, (truth + 1) % 3, one)
    table = make_tested(
        *(classes("one", s, truth, one) for s in (1, 2, 3)),
        classes("experts", 1, truth, nearly, stage="expert_1"),
        classes("experts", 2, truth, weak, stage="expert_2"),
        reference="one",
    )
    first, second, all_ = equivalence_tests(table, 0.04, "one", "experts")
    assert (first.severity, first.equivalent, second.equivalent) == (1, True, False)
    assert -0.04 < first.low <= first.difference <= first.high < 0.04
    assert (all_.condition, all_.p, all_.equivalent) == (None, second.p, False)
    assert equivalence_tests(table, 0.3, "one", "experts")[-1].equivalent is True
