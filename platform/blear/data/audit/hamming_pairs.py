"""Finds all pairs of 64-bit hashes within a Hamming radius, without comparing every pair.

The 64 bits are divided into radius + 1 bands. Two hashes that differ in at most `radius` bits agree in at least one
band (pigeonhole principle), so that only hashes with a common band are compared, block by block.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

_BITS = 64
_BLOCK = 1 << 22  # pairs that are compared at once
MAX_RADIUS = 7


def hamming_pairs(hashes_N: np.ndarray, radius: int) -> np.ndarray:
    """Finds the pairs of hashes that differ in at most `radius` bits.

    Of equal hashes, each is paired with the first of them only, which is enough to group them.

    Args:
        hashes_N: uint64.
        radius: 0 to 7.

    Returns:
        int64 [P, 2], positions first < second, each pair once, sorted.

    Raises:
        ValueError: the radius is out of range.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise ValueError(f"a radius of {radius}; 0 to {MAX_RADIUS}")
    unique_U, first_U, inverse_N = np.unique(hashes_N, return_index=True, return_inverse=True)
    duplicate_N = np.flatnonzero(first_U[inverse_N] != np.arange(len(hashes_N)))
    found = [np.stack([first_U[inverse_N[duplicate_N]], duplicate_N], axis=1)]
    if radius:
        found += [first_U[pairs] for pairs in _pairs_of_unique(unique_U, radius)]
    both = np.sort(np.concatenate(found), axis=1)
    return np.unique(both, axis=0)


def _pairs_of_unique(hashes_U: np.ndarray, radius: int) -> Iterator[np.ndarray]:
    """Yields pairs of different hashes within the radius; a pair that agrees in several bands comes several times."""
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
    """Yields all pairs (left < right) within each run of equal bands, about 4 million pairs at once."""
    # position i of a run of n has n - 1 - i positions to its right
    positions_N = np.repeat(starts_G, sizes_G) + _ranges(sizes_G)
    right_N = np.repeat(starts_G + sizes_G, sizes_G) - 1 - positions_N
    keep = right_N > 0
    positions_N, right_N = positions_N[keep], right_N[keep]
    cut = 0
    ends = np.cumsum(right_N)
    while cut < len(positions_N):
        done = ends[cut - 1] if cut else 0
        stop = max(cut + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        left = np.repeat(positions_N[cut:stop], right_N[cut:stop])
        yield left, left + 1 + _ranges(right_N[cut:stop])
        cut = stop


def _ranges(sizes_G: np.ndarray) -> np.ndarray:
    """Concatenates the ranges 0, 1, ..., size - 1 of all sizes."""
    ends = np.cumsum(sizes_G)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes_G, sizes_G)
