"""Permutations from counter-based random words: nothing to store, the same on any machine and NumPy version."""

from __future__ import annotations

import numpy as np


def permutation(count: int, seed: int, epoch: int, stream: int = 0, number: int = 0) -> np.ndarray:
    """A permutation of `count` numbers, int64: the order of raw Philox words (Salmon et al. 2011).

    Raw words, since NumPy may change the stream of `Generator.permutation` between versions.

    Args:
        count: how many.
        seed, epoch: int64; the key.
        stream, number: not negative; upper words of the counter, whose lowest word counts the draws.
    """
    key = np.array([seed, epoch], dtype=np.int64).view(np.uint64)
    counter = np.array([0, 0, number, stream], dtype=np.uint64)
    return stable_order(np.random.Philox(key=key, counter=counter).random_raw(count))


def stable_order(words: np.ndarray) -> np.ndarray:
    """`argsort` that leaves equal words in their order; where none are equal, as almost always, twice as fast."""
    order: np.ndarray = np.argsort(words)
    in_order = words[order]
    if (in_order[1:] == in_order[:-1]).any():
        order = np.argsort(words, kind="stable")
    return order
