"""The weights of an ensemble's members: a grid search for accuracy, and its cross-validation."""

from __future__ import annotations

from itertools import combinations

import numpy as np

STEPS = 10
"""The grid's weights are multiples of 1 / 10 that sum to 1."""
MOST = 8
"""Members that can be searched: 19,448 combinations."""


def grid(members: int, steps: int = STEPS) -> np.ndarray:
    """Every combination of weights, float64 [G, M], those nearest to equal weights first."""
    bars = np.array(list(combinations(range(steps + members - 1), members - 1))).reshape(-1, members - 1)
    ends = np.full((len(bars), 1), steps + members - 1)
    counts_GM = np.diff(np.hstack([np.full_like(ends, -1), bars, ends])) - 1
    weights_GM = counts_GM / steps
    away_G = ((weights_GM - 1 / members) ** 2).sum(axis=1)
    return weights_GM[np.argsort(away_G, kind="stable")]


def fuse(scores_MNK: np.ndarray, weights_M: np.ndarray) -> np.ndarray:
    """Weighted sums over the members, normalised to probabilities, float64 [N, K]; zeros where all scores are zero."""
    sums_NK = np.tensordot(weights_M, scores_MNK, axes=1)
    total_N1 = sums_NK.sum(axis=1, keepdims=True)
    return np.divide(sums_NK, total_N1, out=np.zeros_like(sums_NK), where=total_N1 > 0)


def search(scores_MNK: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """The weights of the grid with the highest accuracy, [M]; of several, those nearest to equal weights."""
    candidates_GM = grid(len(scores_MNK))
    right_G = [(np.tensordot(w, scores_MNK, axes=1).argmax(axis=1) == truth_N).sum() for w in candidates_GM]
    return candidates_GM[int(np.argmax(right_G))]


def cross_validated(
    scores_MNK: np.ndarray, truth_N: np.ndarray, groups_N: np.ndarray, folds: int, seed: int
) -> np.ndarray:
    """Fused probabilities [N, K] of each fold with the weights that the other folds give.

    Args:
        scores_MNK: of each member; a row of zeros where it has none.
        truth_N: class indices.
        groups_N: names or numbers; rows of a group lie in the same fold.
        folds: at most as many as there are groups.
        seed: of the order in which groups are dealt out to the folds.
    """
    names, place_N = np.unique(groups_N, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    fold_N = (np.argsort(order) % folds)[place_N]
    fused_NK = np.zeros(scores_MNK.shape[1:])
    for fold in range(folds):
        inside_N = fold_N == fold
        weights_M = search(scores_MNK[:, ~inside_N], truth_N[~inside_N])
        fused_NK[inside_N] = fuse(scores_MNK[:, inside_N], weights_M)
    return fused_NK
