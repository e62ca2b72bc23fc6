"""Weights of the members of an ensemble: grid search for accuracy, and its cross-validation."""

from __future__ import annotations

from itertools import combinations

import numpy as np

GRID_STEPS = 10
"""Weights of the grid are multiples of 1 / 10 with the sum 1."""
MAX_MEMBERS = 8
"""The largest number of members of a grid search: 19,448 combinations."""


def weight_grid(members: int, steps: int = GRID_STEPS) -> np.ndarray:
    """Returns all combinations of M weights, float64 [G, M], sorted by distance from equal weights."""
    bars = np.array(list(combinations(range(steps + members - 1), members - 1))).reshape(-1, members - 1)
    ends = np.full((len(bars), 1), steps + members - 1)
    counts_GM = np.diff(np.hstack([np.full_like(ends, -1), bars, ends])) - 1
    weights_GM = counts_GM / steps
    away_G = ((weights_GM - 1 / members) ** 2).sum(axis=1)
    return weights_GM[np.argsort(away_G, kind="stable")]


def fuse(scores_MNK: np.ndarray, weights_M: np.ndarray) -> np.ndarray:
    """Computes weighted sums over the members, normalised to probabilities [N, K]; zeros where all scores are zero."""
    sums_NK = np.tensordot(weights_M, scores_MNK, axes=1)
    total_N1 = sums_NK.sum(axis=1, keepdims=True)
    return np.divide(sums_NK, total_N1, out=np.zeros_like(sums_NK), where=total_N1 > 0)


def search_weights(scores_MNK: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """Returns the weights of the grid with the highest accuracy, [M]; of ties, the weights nearest to equal.

    A row without a score of a member that has a weight is wrong.
    """
    candidates_GM = weight_grid(len(scores_MNK))
    correct_G = []
    for weights_M in candidates_GM:
        sums_NK = np.tensordot(weights_M, scores_MNK, axes=1)
        correct_G.append(((sums_NK.argmax(axis=1) == truth_N) & (sums_NK.max(axis=1) > 0)).sum())
    return candidates_GM[int(np.argmax(correct_G))]


def cross_validated_fusion(
    scores_MNK: np.ndarray, truth_N: np.ndarray, groups_N: np.ndarray, folds: int, seed: int
) -> np.ndarray:
    """Fuses the rows of each fold with the weights that are best on the other folds.

    Args:
        scores_MNK: scores of each member; a row of zeros where a member has no prediction.
        truth_N: class indices.
        groups_N: names or numbers of groups; the rows of a group are in the same fold.
        folds: number of folds, at most the number of groups.
        seed: of the assignment of groups to folds.

    Returns:
        Fused probabilities, float64 [N, K].
    """
    names, group_N = np.unique(groups_N, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    fold_N = (np.argsort(order) % folds)[group_N]
    fused_NK = np.zeros(scores_MNK.shape[1:])
    for fold in range(folds):
        inside_N = fold_N == fold
        weights_M = search_weights(scores_MNK[:, ~inside_N], truth_N[~inside_N])
        fused_NK[inside_N] = fuse(scores_MNK[:, inside_N], weights_M)
    return fused_NK
