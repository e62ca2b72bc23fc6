"""Applies a function to many items in threads where the work is large; numpy's loops and products release the GIL."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from blear.contracts import thread_count

Item = TypeVar("Item")
Result = TypeVar("Result")

_LEAST_CELLS = 1 << 30  # about two seconds; with less, threads give nothing


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item], cells: int) -> list[Result]:
    """Returns the results in the order of the items. They do not depend on the number of threads.

    Args:
        function: must not change what other calls read, except for caches.
        cells: numbers that each call reads or draws, for example resamples x clusters.
    """
    given = list(items)
    threads = min(len(given), thread_count())
    if threads < 2 or cells * len(given) < _LEAST_CELLS:
        return [function(item) for item in given]
    first = function(given[0])  # alone, since it fills the caches of what all calls share
    with ThreadPoolExecutor(threads, "statistics") as pool:
        return [first, *pool.map(function, given[1:])]
