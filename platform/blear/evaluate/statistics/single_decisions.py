"""Exact counts for a class target whose clusters have at most one decision each, without matrix products.

Such clusters are the rule where samples are the unit of resampling. The contribution of a cluster to the confusion
matrix is then one cell, and a bootstrap resample, a jackknife and a permutation only count cells.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_MAX_COLUMNS = 8  # with more columns, a matrix product is faster


def cells_of_clusters(
    truth_N: np.ndarray, prediction_N: np.ndarray, clusters_N: np.ndarray, clusters: int, classes: int
) -> np.ndarray | None:
    """Returns the cell truth x classes + prediction of each cluster, int64 [K]; -1 for a cluster without a decision.

    None for a target that is no class, and where a cluster has several decisions.
    """
    if not classes or truth_N.ndim == 2 or len(truth_N) > clusters:
        return None
    cell_K = np.full(clusters, -1)
    cell_K[clusters_N] = truth_N.astype(np.int64) * classes + prediction_N.astype(np.int64)
    return cell_K if np.count_nonzero(cell_K >= 0) == len(truth_N) else None


def count_drawn_cells(blocks: Iterable[np.ndarray], cell_K: np.ndarray, cells: int) -> np.ndarray:
    """Counts the cells of the drawn clusters, float64 [R, cells].

    Args:
        blocks: uint8 [K, r] each, how often each resample contains each cluster.
        cell_K: see `cells_of_clusters`.
    """
    order = np.argsort(cell_K, kind="stable")
    present, first = np.unique(cell_K[order], return_index=True)
    clusters_of = dict(zip(present.tolist(), np.split(order, first[1:]), strict=True))
    clusters_of.pop(-1, None)
    kind = np.uint16 if len(cell_K) < 1 << 16 else np.uint32  # a resample has K clusters
    parts = [np.empty((0, cells))]
    for counts_Kr in blocks:
        part_rS = np.zeros((counts_Kr.shape[1], cells))
        for cell, clusters in clusters_of.items():
            part_rS[:, cell] = counts_Kr[clusters].sum(axis=0, dtype=kind)
        parts.append(part_rS)
    return np.concatenate(parts)


def cells_without_each(total_S: np.ndarray, cell_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the different counts of cells without one cluster, [U, S], and the row of each cluster, [K]."""
    present, row_K = np.unique(cell_K, return_inverse=True)
    left_US = np.repeat(total_S[None], len(present), axis=0)
    left_US[np.flatnonzero(present >= 0), present[present >= 0]] -= 1
    return left_US, row_K


class SwapCounts:
    """Sums of gains over the clusters that permutations swap, from bit masks.

    Args:
        gain_KS: gain of each cluster in each of S columns, if it is swapped.
    """

    def __init__(self, gain_KS: np.ndarray) -> None:
        self._columns, self._size = np.flatnonzero(gain_KS.any(axis=0)), gain_KS.shape[1]
        self.possible = len(self._columns) <= _MAX_COLUMNS and bool((np.abs(gain_KS) <= 1).all())
        if self.possible:
            used_KC = gain_KS[:, self._columns]
            self._up = [pack_bits(column > 0) for column in used_KC.T]
            self._down = [pack_bits(column < 0) for column in used_KC.T]

    def __call__(self, masks: np.ndarray) -> np.ndarray:
        """Returns float64 [P, S]; `masks` are rows of `pack_bits`, uint8 [P, bytes]."""
        moved_PS, words = np.zeros((len(masks), self._size)), masks.view(np.uint64)
        for column, up, down in zip(self._columns, self._up, self._down, strict=True):
            moved_PS[:, column] = _count(words & up.view(np.uint64)) - _count(words & down.view(np.uint64))
        return moved_PS


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Packs bits [..., K] to whole words of 64 bits, uint8 [..., 8 x ceil(K / 64)], with zeros at the end."""
    packed = np.packbits(bits, axis=-1)
    return pad_words(packed)


def pad_words(packed: np.ndarray) -> np.ndarray:
    """Adds zero bytes until the last axis is a multiple of 8 bytes."""
    missing = -packed.shape[-1] % 8
    return np.ascontiguousarray(np.pad(packed, [(0, 0)] * (packed.ndim - 1) + [(0, missing)]))


def _count(words: np.ndarray) -> np.ndarray:
    return np.bitwise_count(words).sum(axis=-1, dtype=np.float64)
