"""Finds a key that a split holds twice, in bounded memory for any number of samples."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

_BUCKET_KEYS = 1 << 22
_MAX_BUCKETS = 256

KeyBlocks = Callable[[], Iterable[tuple[str, Sequence[str]]]]
"""Yields (part, keys of one of its shards); called twice if a key may be repeated."""


def find_repeated_key(blocks: KeyBlocks, count: int, folder: Path) -> tuple[str, str, str] | None:
    """Finds a repeated key by 64-bit hashes, which are sorted in buckets on the disk.

    Args:
        blocks: the keys.
        count: number of keys.
        folder: for temporary files; 8 bytes for each key.

    Returns:
        The key, and the names of the two parts that hold it; None if all keys differ.
    """
    buckets = min(_MAX_BUCKETS, -(-max(1, count) // _BUCKET_KEYS))
    with tempfile.TemporaryDirectory(prefix=".keys-", dir=folder) as place:
        files = [Path(place) / str(number) for number in range(buckets)]
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(file.open("wb")) for file in files]
            for _, keys in blocks():
                hashes = _hashes(keys)
                for number, file in enumerate(opened):
                    file.write(hashes[hashes % np.uint64(buckets) == number].tobytes())
        suspected = {value for file in files for value in _repeated(np.fromfile(file, np.uint64))}
    return _find_equal(blocks, suspected) if suspected else None


def _hashes(keys: Sequence[str]) -> np.ndarray:
    """Python's hashes of texts, uint64; they differ between processes."""
    return np.fromiter(map(hash, keys), np.int64, len(keys)).view(np.uint64)


def _repeated(hashes: np.ndarray) -> list[int]:
    hashes.sort()
    repeated: list[int] = hashes[1:][hashes[1:] == hashes[:-1]].tolist()
    return repeated


def _find_equal(blocks: KeyBlocks, suspected: set[int]) -> tuple[str, str, str] | None:
    """Compares the keys whose hashes are equal: different keys may have equal hashes."""
    part_of_key: dict[str, str] = {}
    for part, keys in blocks():
        for key, value in zip(keys, _hashes(keys).tolist(), strict=True):
            if value in suspected:
                if key in part_of_key:
                    return key, part_of_key[key], part
                part_of_key[key] = part
    return None
