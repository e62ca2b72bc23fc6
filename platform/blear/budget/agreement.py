"""Agreement of two series of predictions for the same faces, with an interval that respects their dependence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blear.evaluate.statistics.bootstrap import MIN_CLUSTERS
from blear.evaluate.statistics.resampler import ClusteredPredictions, Resampler
from blear.metrics import REGRESSION

_BLOCK_S, _BLOCKS = 2.0, 20
_RESAMPLES = 2000


@dataclass(frozen=True)
class Agreement:
    """Agreement with a 95 % interval: share of equal decisions, or concordance (CCC) of values."""

    value: float
    low: float
    high: float


def time_blocks(seconds: Sequence[np.ndarray]) -> np.ndarray:
    """The resampled unit of each face: two seconds of a video, less where the videos are shorter than 20 such blocks.

    Args:
        seconds: time of each face, one array for each video.

    Returns:
        int64 [N], for the faces of all videos.
    """
    whole = sum(float(np.ptp(one)) for one in seconds)
    length = min(_BLOCK_S, max(whole / _BLOCKS, 1e-3))
    found, first = [], 0
    for one in seconds:
        _, numbers = np.unique(np.floor((one - one.min()) / length), return_inverse=True)
        found.append(numbers + first)
        first += int(numbers.max()) + 1
    return np.concatenate(found)


def agreement(truth_NK: np.ndarray, found_NK: np.ndarray, blocks_N: np.ndarray, classes: bool) -> Agreement:
    """Compares the predictions on an encoded video with those on the original.

    With fewer than three blocks, which say nothing about the spread between blocks, the interval holds all values.

    Args:
        truth_NK: of the original, probabilities or one value.
        blocks_N: from `time_blocks`.
        classes: whether the target is a class.
    """
    blocks = int(blocks_N.max()) + 1
    resampler = Resampler(blocks, _RESAMPLES if blocks >= MIN_CLUSTERS else 0, seed=0)
    if classes:
        same_N = truth_NK.argmax(axis=1) == found_NK.argmax(axis=1)
        if blocks >= MIN_CLUSTERS and (
            same_N.all() or not same_N.any()
        ):  # no resample differs: the exact interval of N independent faces
            end = 0.025 ** (1 / len(same_N))
            return Agreement(1.0, end, 1.0) if same_N.all() else Agreement(0.0, 0.0, 1 - end)
        estimate = resampler.mean(same_N.astype(np.float64), blocks_N)
    else:
        pair = ClusteredPredictions(truth_NK[:, 0], found_NK[:, 0], blocks_N, 0)
        estimate = resampler.estimate(pair, REGRESSION[0])
    low, high = (estimate.interval() if blocks >= MIN_CLUSTERS else None) or (0.0 if classes else -1.0, 1.0)
    return Agreement(float(estimate.value), float(low), float(high))
