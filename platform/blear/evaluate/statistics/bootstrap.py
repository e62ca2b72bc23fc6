"""Cluster bootstrap: draws whole clusters (videos, subjects or samples) with replacement, the same ones for every arm.

Efron and Tibshirani 1993, chapter 8; Field and Welsh 2007 (resampling of clusters). `bootstrap_estimate.bca` computes
the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

Compute = Callable[[np.ndarray, np.ndarray], float]
"""`compute(truth_N, prediction_N)`, as in `contracts.Metric`."""

MIN_CLUSTERS = 3
"""The smallest number of clusters for which intervals are computed."""


def draw_clusters(clusters: int, resamples: int, seed: int) -> np.ndarray:
    """Draws the cluster indices of each resample with replacement: int64 [resamples, clusters]."""
    return np.random.default_rng(seed).integers(clusters, size=(resamples, clusters))


def draw_cluster_blocks(clusters: int, resamples: int, seed: int, block: int) -> Iterator[np.ndarray]:
    """Yields the rows of `draw_clusters` in blocks of at most `block` resamples, without the whole array in memory."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, block):
        yield generator.integers(clusters, size=(min(block, resamples - start), clusters))


def bootstrap_distributions(
    draws_RK: np.ndarray,
    clusters_N: np.ndarray,
    groups: Sequence[tuple[np.ndarray, np.ndarray]],
    computes: Sequence[Compute],
) -> np.ndarray:
    """Computes the bootstrap distributions of M statistics of G groups whose rows have the same clusters.

    Args:
        draws_RK: from `draw_clusters`. Distributions from the same draws are paired.
        clusters_N: cluster index of each row, 0 <= index < K. A cluster may have no row.
        groups: (truth_N, prediction_N) of each group.
        computes: the statistics.

    Returns:
        Float64 [R, G, M]; NaN where the drawn clusters have no rows.
    """
    order = np.argsort(clusters_N, kind="stable")
    sizes_K = np.bincount(clusters_N, minlength=draws_RK.shape[1])
    starts_K = np.cumsum(sizes_K) - sizes_K
    sorted_groups = [(truth[order], prediction[order]) for truth, prediction in groups]
    out_RGM = np.full((len(draws_RK), len(groups), len(computes)), np.nan)
    for r, drawn in enumerate(draws_RK):
        rows = _concatenated_ranges(starts_K[drawn], sizes_K[drawn])
        if not len(rows):
            continue
        for g, (truth, prediction) in enumerate(sorted_groups):
            pair = truth[rows], prediction[rows]
            out_RGM[r, g] = [compute_statistic(compute, *pair) for compute in computes]
    return out_RGM


def compute_statistic(compute: Compute, truth_N: np.ndarray, prediction_N: np.ndarray) -> float:
    """Computes a statistic without warnings; NaN where it is undefined (constant truth, no rows)."""
    if not len(truth_N):
        return float("nan")
    with np.errstate(all="ignore"):
        return float(compute(truth_N, prediction_N))


def _concatenated_ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Concatenates arange(start, start + size) of all pairs."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1]) + np.repeat(starts - (ends - sizes), sizes)
