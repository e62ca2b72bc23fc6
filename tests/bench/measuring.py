"""Functions that all benchmarks share: interleaved timing of arms, quartiles, rows of the table."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        name, value, unit: the measured quantity.
        ratio: how many times better than `against` in the same run; None: no comparison.
        against: name of the compared arm, without the common prefix.
        spread: lower and upper quartile of `value`.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = ""
    spread: tuple[float, float] | None = None


def interleaved(
    arms: Mapping[str, Callable[[], object]],
    repeats: int,
    warm: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Times the arms in turns, one call of each arm per turn, so that other load affects all arms alike.

    Returns:
        Name of the arm -> seconds of each call.
    """
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(warm + repeats):
        for name in list(arms)[turn % len(arms) :] + list(arms)[: turn % len(arms)]:
            began = clock()
            arms[name]()
            took = clock() - began
            if turn >= warm:
                seconds[name].append(took)
    return seconds


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Returns the lower and the upper quartile."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def rate_rows(
    seconds: Mapping[str, Sequence[float]], work: float, unit: str, against: str, prefix: str = ""
) -> list[Row]:
    """Returns a row for each arm: `work` divided by the median time. The ratio is the median over the pairs of a turn.

    Args:
        seconds: result of `interleaved`.
        work: samples (steps, ...) per call.
        unit: unit of the value.
        against: name of the arm to compare with.
        prefix: common part of the names, such as the size.
    """
    rows = []
    for name, times in seconds.items():
        ratio = None
        if name != against:
            ratio = statistics.median(theirs / ours for ours, theirs in zip(times, seconds[against], strict=True))
        spread = quartiles([work / took for took in times])
        compared = against if ratio is not None else ""
        rows.append(Row(prefix + name, work / statistics.median(times), unit, ratio, compared, spread))
    return rows


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Sets the number of the threads of torch, and of the sessions of onnxruntime that a block of code opens."""
    import torch

    before, variable = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(count)
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if variable is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = variable
