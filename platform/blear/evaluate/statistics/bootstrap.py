"""Cluster bootstrap: whole videos (or subjects, or samples) are drawn with replacement, the same ones for every arm.

Efron and Tibshirani 1993, chapter 8; Field and Welsh 2007 (resampling of clusters). Intervals: `spread.bca`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Compute = Callable[[np.ndarray, np.ndarray], float]
"""`compute(truth_N, prediction_N)`, as in `contracts.Metric`."""

MIN_CLUSTERS = 3


def draw(clusters: int, resamples: int, seed: int) -> np.ndarray:
    """Which clusters each resample holds: int64 [resamples, clusters], drawn with replacement."""
    return np.random.default_rng(seed).integers(clusters, size=(resamples, clusters))


def distributions(
    draws_RK: np.ndarray,
    clusters_N: np.ndarray,
    groups: Sequence[tuple[np.ndarray, np.ndarray]],
    computes: Sequence[Compute],
) -> np.ndarray:
    """Bootstrap distributions of several statistics of several groups whose rows lie in the same clusters.

    Args:
        draws_RK: from `draw`; the same draws for two groups make their distributions paired.
        clusters_N: cluster of each row, 0 <= index < K; a cluster may have no row.
        groups: (truth_N, prediction_N) of each group G.
        computes: the statistics M.

    Returns:
        Float64 [R, G, M]; NaN where the drawn clusters have no rows.
    """
    order = np.argsort(clusters_N, kind="stable")
    sizes_K = np.bincount(clusters_N, minlength=draws_RK.shape[1])
    starts_K = np.cumsum(sizes_K) - sizes_K
    sorted_groups = [(truth[order], prediction[order]) for truth, prediction in groups]
    out_RGM = np.full((len(draws_RK), len(groups), len(computes)), np.nan)
    for r, drawn in enumerate(draws_RK):
        rows = _ranges(starts_K[drawn], sizes_K[drawn])
        if not len(rows):
            continue
        for g, (truth, prediction) in enumerate(sorted_groups):
            pair = truth[rows], prediction[rows]
            out_RGM[r, g] = [evaluate(compute, *pair) for compute in computes]
    return out_RGM


def evaluate(compute: Compute, truth_N: np.ndarray, prediction_N: np.ndarray) -> float:
    """A statistic; NaN, without a warning, where it is undefined (a constant truth, no rows)."""
    if not len(truth_N):
        return float("nan")
    with np.errstate(all="ignore"):
        return float(compute(truth_N, prediction_N))


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The concatenation of arange(start, start + size)."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1]) + np.repeat(starts - (ends - sizes), sizes)
