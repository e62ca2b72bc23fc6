"""Pairs of 64-bit hashes within a Hamming radius, without comparing all with all.

Of radius + 1 bands of bits, two hashes that differ in at most `radius` bits have one in common (pigeonhole); only those
that share a band are compared, block by block.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

_BITS = 64
_BLOCK = 1 << 22
MOST_RADIUS = 7


def pairs(hashes_N: np.ndarray, radius: int) -> np.ndarray:
    """Pairs that differ in at most `radius` bits, int64 [P, 2], first < second, each once, sorted.

    Of equal hashes, each is paired with the first of them only: enough to group them.

    Args:
        hashes_N: uint64.
        radius: 0 to 7.
    """
    if not 0 <= radius <= MOST_RADIUS:
        raise ValueError(f"a radius of {radius}; 0 to {MOST_RADIUS}")
    unique_U, first_U, inverse_N = np.unique(hashes_N, return_index=True, return_inverse=True)
    again_N = np.flatnonzero(first_U[inverse_N] != np.arange(len(hashes_N)))
    found = [np.stack([first_U[inverse_N[again_N]], again_N], axis=1)]
    if radius:
        found += [first_U[near] for near in _near(unique_U, radius)]
    both = np.sort(np.concatenate(found), axis=1)
    return np.unique(both, axis=0)


def _near(hashes_U: np.ndarray, radius: int) -> Iterator[np.ndarray]:
    """Pairs of different hashes, those of several bands more than once."""
    edges = np.linspace(0, _BITS, radius + 2).round().astype(int)
    for low, high in pairwise(edges.tolist()):
        band_U = (hashes_U >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(band_U, kind="stable")
        starts = np.flatnonzero(np.diff(band_U[order], prepend=band_U[order[:1]] ^ np.uint64(1)))
        sizes = np.diff(np.append(starts, len(order)))
        for left, right in _candidates(starts, sizes):
            a, b = order[left], order[right]
            close = np.bitwise_count(hashes_U[a] ^ hashes_U[b]) <= radius
            yield np.stack([a[close], b[close]], axis=1)


def _candidates(starts_G: np.ndarray, sizes_G: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places (left < right) of all pairs within each run of equal bands, at most about 4 million at once."""
    # place i of a run of n has n - 1 - i places to its right
    places_N = np.repeat(starts_G, sizes_G) + _counted(sizes_G)
    right_N = np.repeat(starts_G + sizes_G, sizes_G) - 1 - places_N
    keep = right_N > 0
    places_N, right_N = places_N[keep], right_N[keep]
    cut = 0
    ends = np.cumsum(right_N)
    while cut < len(places_N):
        done = ends[cut - 1] if cut else 0
        stop = max(cut + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        left = np.repeat(places_N[cut:stop], right_N[cut:stop])
        yield left, left + 1 + _counted(right_N[cut:stop])
        cut = stop


def _counted(sizes_G: np.ndarray) -> np.ndarray:
    """0, 1, ..., size - 1 of each, one after another."""
    ends = np.cumsum(sizes_G)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes_G, sizes_G)
