"""Time of one call of a model."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from torch import Tensor

BATCHES = (1, 16)
_WARM, _LEAST, _MOST, _SECONDS = 3, 20, 200, 2.0


def call_times(call: Callable[[Tensor], object], frames_BTCHW: Tensor) -> tuple[float, float]:
    """Median and 95th percentile of the time of one call, in milliseconds.

    20 to 200 calls, within two seconds where that is enough for 20.
    """
    for _ in range(_WARM):
        call(frames_BTCHW)
    times: list[float] = []
    until = time.monotonic() + _SECONDS
    while len(times) < _LEAST or (len(times) < _MOST and time.monotonic() < until):
        began = time.perf_counter()
        call(frames_BTCHW)
        times.append(1000 * (time.perf_counter() - began))
    median, high = np.percentile(times, [50, 95])
    return float(median), float(high)
