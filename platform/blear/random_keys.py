"""Counter-based random numbers: SplitMix64 (Steele, Lea, Flood 2014) over (seed, operation, epoch, sample, stream)."""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # the algorithm multiplies modulo 2^64
        z = z + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def nested(operation: int, index: int) -> int:
    """Returns the stream number of part `index` of an operation, in [2^62, 2^63).

    The operations of a job have small numbers, so that the two kinds do not collide.
    """
    state = _mix(np.asarray([operation], dtype=np.int64).view(np.uint64))
    state = _mix(state ^ np.asarray([index], dtype=np.int64).view(np.uint64))
    return int(state[0] >> np.uint64(2)) | 1 << 62


def uniform(seed: int, operation: int, epochs_B: np.ndarray, samples_B: np.ndarray, n: int) -> np.ndarray:
    """Returns uniform random numbers in [0, 1) with 53 random bits, float64 [B, n].

    Args:
        seed: seed of the job.
        operation: number of the random stream.
        epochs_B, samples_B: epoch and number of each sample.
        n: numbers for each sample.
    """
    state = _mix(np.asarray([seed], dtype=np.int64).view(np.uint64))
    for part in (np.asarray([operation]), epochs_B, samples_B):
        state = _mix(state ^ part.astype(np.int64).view(np.uint64))
    streams = _mix(state[:, None] ^ np.arange(n, dtype=np.uint64)[None, :] * _GOLDEN)
    return (streams >> np.uint64(11)).astype(np.float64) * 2.0**-53
