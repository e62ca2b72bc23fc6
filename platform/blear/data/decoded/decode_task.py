"""A piece of decoding that any process can do: some samples of a shard, from its open file into another one."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blear.data.shard.encoded_shard import EncodedSamples

_CHUNK_BYTES = 1 << 21  # decoded, before they are written: about what the processor's cache holds
_CHUNK_SAMPLES, _LARGE_CHUNK_BYTES = 64, 1 << 23  # at least so many, a call has its cost; but never more bytes
_WRITE_BYTES = 1 << 20  # at once: the system's cache looks for larger pieces of memory otherwise, and may wait for them
_thread = threading.local()

Arrays = Sequence[tuple[tuple[int, int, int, int], np.dtype]]
"""Shape [T, H, W, C] and type of a sample's frames, and of its clean clip if there is one."""


@dataclass(frozen=True)
class Task:
    """What to decode and where to write it.

    Attributes:
        samples: where they lie in the shard's file.
        offsets: where the first sample of each array goes; the others follow.
    """

    samples: EncodedSamples
    arrays: Arrays
    offsets: Sequence[int]

    @staticmethod
    def packed(samples: EncodedSamples, arrays: Arrays) -> tuple[Task, int]:
        """The task that writes the arrays one behind the other, each on a boundary of 64 bytes; and their bytes."""
        offsets = [0]
        for shape, kind in arrays:
            offsets.append(-(-(offsets[-1] + len(samples) * math.prod(shape) * kind.itemsize) // 64) * 64)
        return Task(samples, arrays, offsets[:-1]), offsets[-1]

    def run(self, source: int, target: int) -> dict[int, str]:
        """Reads one open file, writes the other; returns the broken samples, number -> cause.

        Raises:
            OSError: one of the files cannot be read or written.
        """
        each = sum(math.prod(shape) * kind.itemsize for shape, kind in self.arrays)
        most = max(1, min(max(_CHUNK_BYTES, _CHUNK_SAMPLES * each), _LARGE_CHUNK_BYTES) // each)
        broken: dict[int, str] = {}
        for rows in even(len(self.samples), most):
            first = int(rows[0])
            outs = [out[: len(rows)] for out in self._buffers(most)]
            causes = self.samples.decode(source, rows, outs, range(len(rows)))
            broken |= causes
            for offset, out in zip(self.offsets, outs, strict=True):
                for row in causes:
                    out[row - first] = 0  # the same bytes whoever writes them
                write_at(target, out, offset + first * out[0].nbytes)
        return broken

    def _buffers(self, rows: int) -> list[np.ndarray]:
        """This thread's arrays for a chunk, used again and again: fresh memory costs page faults."""
        made_for = (self.arrays, rows)
        if getattr(_thread, "made_for", None) != made_for:
            _thread.arrays = [np.empty((rows, *shape), kind) for shape, kind in self.arrays]
            _thread.made_for = made_for
        arrays: list[np.ndarray] = _thread.arrays
        return arrays


def even(count: int, most: int) -> list[np.ndarray]:
    """The numbers below `count` in as few runs of about one length as hold at most `most` each."""
    step = -(-count // max(1, -(-count // most)))
    return [np.arange(first, min(first + step, count)) for first in range(0, count, max(1, step))]


def write_at(descriptor: int, array: np.ndarray, offset: int) -> None:
    """Writes a contiguous array into an open file."""
    data = array.data.cast("B") if array.size else memoryview(b"")
    while len(data):
        done = os.pwrite(descriptor, data[:_WRITE_BYTES], offset)
        data, offset = data[done:], offset + done
