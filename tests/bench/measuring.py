"""What benchmarks share: arms timed in turns in one run, medians with quartiles, and rows of the table."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One number of the table.

    Attributes:
        name, value, unit: what was measured.
        ratio: how many times better than `against`, in the same run; None: it stands alone.
        against: name of what it is compared with, without what both names begin with.
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
    """Seconds of each call of each arm: one call of every arm in each turn, so that other load meets all alike."""
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
    """Lower and upper quartile."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def rate_rows(
    seconds: Mapping[str, Sequence[float]], work: float, unit: str, against: str, prefix: str = ""
) -> list[Row]:
    """A row for each arm: `work` of one call over its median time; the ratio is the median over the turns' pairs.

    Args:
        seconds: what `interleaved` gave.
        work: samples (steps, ...) of one call.
        against: the arm that the others are compared with.
        prefix: what the arms have in common, such as the size.
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
    """Torch with so many threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
