"""Counter-based draws: pinned values, independence of batch and order, no visible structure."""

from __future__ import annotations

import numpy as np

from blear.contracts import DrawKeys


def keys(samples, seed=3, operation=1, epoch=0) -> DrawKeys:
    samples_B = np.asarray(samples, dtype=np.int64)
    return DrawKeys(seed, operation, np.full_like(samples_B, epoch), samples_B)


def test_values_are_pinned() -> None:
    """A change here changes every degradation that any finished run drew."""
    expected = [[0.37638541, 0.20288864], [0.18123153, 0.16881627]]
    np.testing.assert_allclose(keys([0, 7]).uniform(2), expected, atol=1e-7)


def test_a_sample_draws_the_same_in_any_batch() -> None:
    whole = keys(range(50)).uniform(3)
    np.testing.assert_array_equal(keys([41, 3, 12]).uniform(3), whole[[41, 3, 12]])
    np.testing.assert_array_equal(keys(range(50)).uniform(1), whole[:, :1])


def test_seed_operation_epoch_and_sample_each_change_the_draw() -> None:
    base = keys([5]).uniform(4)
    for other in (keys([5], seed=4), keys([5], operation=2), keys([5], epoch=1), keys([6])):
        assert not np.isin(other.uniform(4), base).any()
    np.testing.assert_array_equal(keys([5], epoch=9).frozen().uniform(4), keys([5], epoch=0).uniform(4))


def test_draws_are_uniform_and_uncorrelated() -> None:
    draws = keys(range(200_000)).uniform(2)
    counts, _ = np.histogram(draws[:, 0], bins=20, range=(0, 1))
    assert abs(counts - 10_000).max() < 500  # five standard deviations
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.012
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.012
    assert draws.min() >= 0
    assert draws.max() < 1
