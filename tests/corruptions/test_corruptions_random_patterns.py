"""Random patterns: Kolmogorov-Smirnov tests of the distributions; independence of keys, streams and positions."""

import pytest
import torch
from scipy import stats

from blear_corruptions.random_patterns import normal_pattern, uniform_pattern

KEYS = torch.randint(2**53, (64,), generator=torch.Generator().manual_seed(1))
BOTH = pytest.mark.parametrize(("made", "law"), [(normal_pattern, "norm"), (uniform_pattern, "uniform")])


@BOTH
def test_has_its_distribution_in_and_over_patterns(made, law):
    values = made(KEYS, (3, 40, 40))
    assert values.dtype == torch.float32
    assert stats.kstest(values[:40].flatten().double().numpy(), law).pvalue > 1e-3
    assert stats.kstest(values[:, 0, 0, 0].double().numpy(), law).pvalue > 1e-3
    if law == "uniform":
        assert 0 <= values.min() < values.max() < 1


@BOTH
def test_keys_streams_and_neighbours_are_independent(made, law):
    first, other = (made(KEYS[:8], (1, 64, 64), stream).flatten(1).double() for stream in (0, 1))
    together = torch.corrcoef(torch.cat([first, other])).fill_diagonal_(0)
    assert together.abs().max() < 6 / 64
    beside = torch.corrcoef(torch.stack([first[:, :-1].flatten(), first[:, 1:].flatten()]))[0, 1]
    assert abs(beside) < 5 / 64 / 8**0.5


@BOTH
def test_is_a_function_of_the_key_alone_and_longer_patterns_begin_alike(made, law):
    values = made(KEYS, (100,))
    assert torch.equal(made(KEYS[7:9], (100,)), values[7:9])
    assert torch.equal(made(KEYS, (2, 100)).flatten(1)[:, :100], values)
    assert torch.equal(made(KEYS[:2], (3, 224, 224)).flatten(1)[:, :100], values[:2])  # from larger tables
