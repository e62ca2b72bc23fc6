"""The draws of the cluster bootstrap, by hand."""

import numpy as np
import pytest

from blear.evaluate.statistics.bootstrap import bootstrap_distributions, draw_cluster_blocks, draw_clusters


def _mean(truth, prediction):
    return float(prediction.mean())


def test_draws_contain_whole_clusters():
    """Ten equal values in each of 20 clusters have the information of 20 values, not of 200."""
    means = np.random.default_rng(0).normal(size=20)
    clusters = np.repeat(np.arange(20), 10)
    values = means[clusters]
    estimate = bootstrap_distributions(draw_clusters(20, 2000, 0), clusters, [(values, values)], [_mean])[:, 0, 0]
    assert estimate.std() == pytest.approx(means.std() / np.sqrt(20), rel=0.06)


def test_each_resample_is_the_rows_of_the_drawn_clusters():
    clusters = np.array([2, 0, 2, 1])  # cluster 3 has no rows
    values = np.array([10.0, 1.0, 20.0, 5.0])
    draws = np.array([[0, 0, 1, 3], [2, 1, 2, 0], [3, 3, 3, 3]])
    seen = []

    def collect(truth, prediction):
        assert np.array_equal(truth, -prediction)
        seen.append(sorted(prediction))
        return float(prediction.sum())

    out = bootstrap_distributions(draws, clusters, [(-values, values)], [collect])
    assert seen == [[1, 1, 5], [1, 5, 10, 10, 20, 20]]
    np.testing.assert_array_equal(out[:, 0, 0], [7, 66, np.nan])


def test_the_same_seed_draws_the_same():
    assert np.array_equal(draw_clusters(30, 5, 7), draw_clusters(30, 5, 7))
    assert not np.array_equal(draw_clusters(30, 5, 7), draw_clusters(30, 5, 8))
    assert draw_clusters(30, 5, 7).max() < 30


@pytest.mark.parametrize("clusters", [1, 7, 8, 3589])
@pytest.mark.parametrize("block", [1, 3, 20, 100])
def test_blocks_of_draws_are_the_draws(clusters, block):
    blocks = list(draw_cluster_blocks(clusters, 20, 7, block))
    assert [len(one) for one in blocks] == [min(block, 20 - start) for start in range(0, 20, block)]
    np.testing.assert_array_equal(np.concatenate(blocks), draw_clusters(clusters, 20, 7))
