import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blear.data.order import Order

orders = st.builds(
    Order, count=st.integers(1, 60), batch_size=st.integers(1, 25), seed=st.integers(-(2**63), 2**63 - 1)
)


@given(orders, st.integers(0, 5))
def test_every_epoch_is_a_permutation(order, epoch):
    first, last = epoch * order.count // order.batch_size, (epoch + 1) * order.count // order.batch_size
    batches = [order.batch(step) for step in range(first, last + 1)]
    epochs, samples = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    assert sorted(samples[epochs == epoch]) == list(range(order.count))
    assert all(len(samples_B) == order.batch_size for _, samples_B in batches)


@given(orders, st.integers(0, 40), st.integers(1, 8))
def test_shares_of_all_workers_are_the_global_batch(order, step, world):
    epochs_B, samples_B = order.batch(step)
    shares = [order.part(step, rank, world) for rank in range(world)]
    back = np.full_like(samples_B, -1), np.full_like(samples_B, -1)
    for rank, share in enumerate(shares):
        for whole, piece in zip(back, share, strict=True):
            whole[rank::world] = piece
    assert np.array_equal(back[0], epochs_B)
    assert np.array_equal(back[1], samples_B)
    assert sum(len(samples) for _, samples in shares) == order.batch_size


@given(orders, st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_any_step_alone_equals_the_sequence(order, steps):
    sequence = [order.batch(step) for step in range(31)]
    for step in steps:
        for alone, within in zip(order.batch(step), sequence[step], strict=True):
            assert alone.dtype == np.int64
            assert np.array_equal(alone, within)


def test_positions_do_not_depend_on_the_batch_size():
    stream = Order(10, 5, seed=3)
    other = Order(10, 3, seed=3)
    first = np.concatenate([stream.batch(step)[1] for step in range(6)])
    second = np.concatenate([other.batch(step)[1] for step in range(10)])
    assert np.array_equal(first, second)


def test_seeds_and_epochs_shuffle_differently():
    def epoch(seed, number):
        return Order(100, 100, seed).batch(number)[1].tolist()

    assert len({tuple(epoch(seed, number)) for seed in (0, 1, -1) for number in (0, 1)}) == 6


def test_the_order_is_fixed_for_ever():
    # a change here would change what every resumed run sees
    epochs_B, samples_B = Order(8, 12, seed=1).batch(0)
    assert epochs_B.tolist() == [0] * 8 + [1] * 4
    assert samples_B.tolist() == [3, 5, 2, 7, 0, 6, 1, 4, 0, 6, 5, 3]


def test_a_step_far_away_is_reached_at_once():
    epochs_B, samples_B = Order(7, 4, seed=0).batch(10**12)
    assert epochs_B.tolist() == [571428571428, 571428571428, 571428571428, 571428571429]
    assert samples_B.tolist() == [6, 5, 3, 4]


@pytest.mark.parametrize(("count", "batch_size"), [(0, 1), (1, 0)])
def test_nothing_to_order_is_refused(count, batch_size):
    with pytest.raises(ValueError, match="at least 1"):
        Order(count, batch_size, 0)


def test_ranks_and_steps_out_of_range_are_refused():
    with pytest.raises(ValueError, match="rank 2 is not in a world of 2"):
        Order(4, 2, 0).part(0, 2, 2)
    with pytest.raises(ValueError, match="negative"):
        Order(4, 2, 0).batch(-1)
