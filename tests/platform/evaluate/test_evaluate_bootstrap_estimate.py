"""BCa intervals of clusters against scipy on the same resamples, and resamples by matrix product against a loop."""

import tracemalloc
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.stats

from blear.contracts import Metric
from blear.evaluate.statistics import resampler as resampler_module
from blear.evaluate.statistics.bootstrap_estimate import BootstrapEstimate, bca, combine, mean, paired_difference
from blear.evaluate.statistics.resampler import ClusteredPredictions, Resampler
from blear.metrics import CLASSIFICATION, REGRESSION, moments


@dataclass
class _Resampled:
    """Stands for scipy's bootstrap result, which contains the resamples."""

    bootstrap_distribution: np.ndarray


def _mean(truth, prediction):
    return float(prediction.mean())


MEAN = Metric("mean", "Mean", _mean, True)


def _scipys(values, distribution, confidence=0.95):
    """Returns scipy's BCa interval of the mean of `values` from these resamples."""
    found = scipy.stats.bootstrap(
        (values,),
        np.mean,
        method="BCa",
        n_resamples=0,
        vectorized=True,
        confidence_level=confidence,
        bootstrap_result=_Resampled(distribution),
    )
    return found.confidence_interval


@pytest.mark.parametrize("confidence", [0.95, 0.9])
def test_bca_equals_scipys_on_the_same_resamples(confidence):
    values = np.random.default_rng(3).exponential(2.0, 40)  # skewed: bias and acceleration count
    estimate = Resampler(40, 999, 1).estimate(ClusteredPredictions(values, values, np.arange(40), 0), MEAN)
    expected = _scipys(values, estimate.distribution_R, confidence)
    assert estimate.interval(confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)
    plain = np.quantile(estimate.distribution_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    assert min(np.abs(np.array(estimate.interval(confidence)) - plain)) > 0.02


def test_a_cluster_of_equal_rows_counts_as_one_value():
    values = np.random.default_rng(4).exponential(2.0, 15)
    each = Resampler(15, 500, 2).estimate(ClusteredPredictions(values, values, np.arange(15), 0), MEAN)
    tenfold = np.repeat(values, 10)
    whole = Resampler(15, 500, 2).estimate(
        ClusteredPredictions(tenfold, tenfold, np.repeat(np.arange(15), 10), 0), MEAN
    )
    assert whole.interval() == pytest.approx(each.interval(), abs=1e-12)


def _rows(classes, rng, n=300, clusters=20):
    which = rng.integers(clusters - 1, size=n)  # the last cluster has no rows
    if classes:
        truth = rng.integers(classes, size=n).astype(float)
        return ClusteredPredictions(
            truth, np.where(rng.random(n) < 0.6, truth, rng.integers(classes, size=n)), which, classes
        )
    truth = rng.normal(0.3, 1, n)
    return ClusteredPredictions(truth, 0.5 * truth + rng.normal(0.1, 0.7, n), which, 0)


@pytest.mark.parametrize("metric", [*CLASSIFICATION, *REGRESSION], ids=lambda metric: metric.name)
def test_matrix_products_equal_the_loop(metric):
    classes = 5 if metric in CLASSIFICATION else 0
    rng = np.random.default_rng(0)
    a, b = _rows(classes, rng), _rows(classes, rng)
    slow, resampler = replace(metric, from_sums=None), Resampler(20, 60, 7, permutations=60)
    fast, slow_estimate = resampler.estimate(a, metric), resampler.estimate(a, slow)
    for name in ("value", "distribution_R", "jackknife_J"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow_estimate, name), atol=1e-10)
    np.testing.assert_allclose(
        resampler.permutation_distribution(a, b, metric), resampler.permutation_distribution(a, b, slow), atol=1e-10
    )


def test_few_clusters_have_every_permutation_once():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=6)
    a = ClusteredPredictions(truth, truth + rng.normal(size=6), np.arange(6), 0)
    b = ClusteredPredictions(truth, truth + rng.normal(size=6), np.arange(6), 0)
    found = np.sort(Resampler(6, 10, 0).permutation_distribution(a, b, MEAN))
    gap = (a.prediction_N - b.prediction_N) / 6
    signs = (np.arange(64)[:, None] >> np.arange(6)) % 2 * 2 - 1
    np.testing.assert_allclose(found, np.sort(signs @ gap), atol=1e-12)


def test_a_metric_is_computed_where_its_sums_differ():
    """The predictions differ in the ninth digit: their sums cancel, but the correlation is -1."""
    truth = np.arange(12.0)
    nearly = ClusteredPredictions(truth, 5 - 1e-8 * truth, np.arange(12), 0)
    cc = REGRESSION[2]
    assert not np.isclose(float(cc.from_sums(moments(truth - 5.5, nearly.prediction_N - 5.5).sum(axis=0))), -1)
    resampler = Resampler(12, 50, 0)
    estimate = resampler.estimate(nearly, cc)
    assert estimate.value == pytest.approx(-1, abs=1e-6)
    np.testing.assert_allclose(estimate.distribution_R, -1, atol=1e-5)
    np.testing.assert_allclose(resampler.permutation_distribution(nearly, nearly, cc), 0, atol=1e-6)
    wrong = replace(CLASSIFICATION[0], from_sums=CLASSIFICATION[1].from_sums)
    rows = ClusteredPredictions(np.array([0.0, 0, 0, 1]), np.array([0.0, 0, 1, 1]), np.arange(4), 2)
    assert Resampler(4, 5, 0).estimate(rows, wrong).value == 0.75


def test_the_jackknife_of_more_than_200_clusters_has_200_groups():
    values = np.random.default_rng(0).normal(size=450)
    estimate = Resampler(450, 5, 0).estimate(ClusteredPredictions(values, values, np.arange(450), 0), MEAN)
    assert len(estimate.jackknife_J) == 200
    parts = np.arange(450) * 200 // 450
    np.testing.assert_allclose(estimate.jackknife_J, [values[parts != part].mean() for part in range(200)])


def test_blocks_give_the_same_distributions(monkeypatch):
    """Blocks of one resample and of 4 permutations, with draws that are made again for each call."""
    rng = np.random.default_rng(0)
    a, b = _rows(5, rng), _rows(5, rng)
    wanted = [of(Resampler(20, 30, 7, permutations=22)) for of in _distributions(a, b)]
    monkeypatch.setattr(resampler_module, "_CELLS_PER_BLOCK", 20)
    monkeypatch.setattr(resampler_module, "_KEPT_BYTES", 0)
    for of, expected in zip(_distributions(a, b), wanted, strict=True):
        np.testing.assert_allclose(of(Resampler(20, 30, 7, permutations=22)), expected, atol=1e-12)


def _distributions(a, b):
    metric, slow = CLASSIFICATION[0], replace(CLASSIFICATION[0], from_sums=None)
    return [
        lambda resampler: resampler.estimate(a, metric).distribution_R,
        lambda resampler: resampler.estimate(a, slow).distribution_R,
        lambda resampler: resampler.mean(a.truth_N, a.clusters_N).distribution_R,
        lambda resampler: resampler.permutation_distribution(a, b, metric),
        lambda resampler: resampler.permutation_distribution(a, b, slow),
    ]


def test_memory_does_not_grow_with_resamples_times_clusters():
    """1,000 resamples of 100,000 clusters are 0.8 GB of indices; the blocks and the kept counts stay far below."""
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=100_000)
    rows = ClusteredPredictions(truth, np.where(rng.random(100_000) < 0.6, truth, 0), np.arange(100_000), 3)
    tracemalloc.start()
    estimate = Resampler(100_000, 1000, 0).estimate(rows, CLASSIFICATION[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert estimate.distribution_R.std() == pytest.approx(np.sqrt(estimate.value * (1 - estimate.value) / 1e5), rel=0.1)
    assert peak < 400e6


def test_differences_and_means_are_paired_by_resample():
    a = BootstrapEstimate(3.0, np.array([1.0, 2.0]), np.array([5.0]))
    b = BootstrapEstimate(1.0, np.array([4.0, 0.0]), np.array([1.0]))
    assert paired_difference(a, b).distribution_R.tolist() == [-3, 2]
    assert mean(a, b).jackknife_J.tolist() == [3]
    assert combine(np.divide, a, b).value == 3


def test_the_interval_covers_the_truth_in_about_95_of_100_experiments():
    rng = np.random.default_rng(11)
    resampler, covered = Resampler(30, 300, 0), 0
    for _ in range(300):
        values = rng.exponential(size=30)
        low, high = resampler.estimate(ClusteredPredictions(values, values, np.arange(30), 0), MEAN).interval()
        covered += low <= 1 <= high
    assert 0.9 <= covered / 300 <= 0.97  # the percentile interval has about 0.90 here


def test_degenerate_cases_are_defined():
    jackknife = np.array([1.0, 2.0, 3.0])
    assert bca(1.0, np.array([]), jackknife) is None
    assert bca(np.nan, np.arange(100.0), jackknife) is None
    assert bca(1.0, np.array([1.0, 2.0, np.nan, np.nan]), jackknife) is None
    assert bca(0.5, np.full(50, 0.5), jackknife) == (0.5, 0.5)
    low, high = bca(49.0, np.array([*range(99), np.nan], dtype=float), np.ones(5))  # no bias, no acceleration
    assert (low, high) == pytest.approx((98 * 0.025, 98 * 0.975))
    low, high = bca(200.0, np.arange(100.0), jackknife)  # beyond every resample: the top of them
    assert 90 < low <= high == pytest.approx(99)
    assert bca(50.0, np.arange(100.0), np.array([np.nan, np.nan, 1.0])) == bca(50.0, np.arange(100.0), np.ones(3))
