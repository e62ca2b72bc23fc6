"""The cluster bootstrap against scipy, analytic intervals and hand-made cases."""

import numpy as np
import pytest
import scipy.stats

from blear.evaluate.bootstrap import distributions, draw, interval


def _mean(truth, prediction):
    return float(prediction.mean())


def test_interval_of_a_mean_is_near_the_analytic_one_and_scipys():
    rng = np.random.default_rng(3)
    values = rng.normal(2.0, 3.0, 400)
    clusters = np.arange(400)
    spread = distributions(draw(400, 2000, 0), clusters, [(values, values)], [_mean])[:, 0, 0]
    low, high = interval(spread)
    half = 1.96 * values.std(ddof=1) / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)
    scipys = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=2000, rng=1).confidence_interval
    assert (low, high) == pytest.approx((scipys.low, scipys.high), abs=0.05)


def test_clusters_are_drawn_whole():
    """Ten equal values in each of 20 clusters carry the information of 20 values, not of 200."""
    means = np.random.default_rng(0).normal(size=20)
    clusters = np.repeat(np.arange(20), 10)
    values = means[clusters]
    spread = distributions(draw(20, 2000, 0), clusters, [(values, values)], [_mean])[:, 0, 0]
    assert spread.std() == pytest.approx(means.std() / np.sqrt(20), rel=0.06)


def test_each_resample_is_the_rows_of_the_drawn_clusters():
    clusters = np.array([2, 0, 2, 1])  # cluster 3 has no rows
    values = np.array([10.0, 1.0, 20.0, 5.0])
    draws = np.array([[0, 0, 1, 3], [2, 1, 2, 0], [3, 3, 3, 3]])
    seen = []

    def collect(truth, prediction):
        assert np.array_equal(truth, -prediction)
        seen.append(sorted(prediction))
        return float(prediction.sum())

    out = distributions(draws, clusters, [(-values, values)], [collect])
    assert seen == [[1, 1, 5], [1, 5, 10, 10, 20, 20]]
    np.testing.assert_array_equal(out[:, 0, 0], [7, 66, np.nan])


def test_the_same_seed_draws_the_same():
    assert np.array_equal(draw(30, 5, 7), draw(30, 5, 7))
    assert not np.array_equal(draw(30, 5, 7), draw(30, 5, 8))
    assert draw(30, 5, 7).max() < 30


def test_the_interval_covers_the_truth_in_about_95_of_100_experiments():
    rng = np.random.default_rng(11)
    covered = 0
    draws, clusters = draw(60, 200, 0), np.arange(60)
    for _ in range(200):
        values = rng.normal(size=60)
        low, high = interval(distributions(draws, clusters, [(values, values)], [_mean])[:, 0, 0])
        covered += low <= 0 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_a_mostly_undefined_statistic_has_no_interval():
    assert interval(np.array([])) is None
    assert interval(np.array([1.0, 2.0, np.nan, np.nan])) is None
    low, high = interval(np.array([*range(99), np.nan], dtype=float))
    assert (low, high) == pytest.approx((98 * 0.025, 98 * 0.975))
