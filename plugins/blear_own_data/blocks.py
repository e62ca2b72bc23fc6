"""Parts of a split: blocks of consecutive samples."""

from __future__ import annotations

from blear.errors import DataError

_PICTURES, _VIDEOS = 1000, 50


def block_names(count: int, videos: bool) -> list[str]:
    """Returns the names of the blocks of `count` samples, `<first>-<last>`: `0000000-0000999`."""
    step = _VIDEOS if videos else _PICTURES
    return [f"{first:07d}-{min(first + step, count) - 1:07d}" for first in range(0, count, step)]


def find_block(name: str, count: int, videos: bool, where: str) -> range:
    """Returns the numbers of the samples of a block.

    Raises:
        DataError: there is no such block.
    """
    if name not in block_names(count, videos):
        raise DataError(f"no part is called {name!r}", where, "use the names that `parts` gives")
    first, last = map(int, name.split("-"))
    return range(first, last + 1)
