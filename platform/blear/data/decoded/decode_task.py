"""A decoding task for any process: decodes some samples of an open shard file into another open file."""

from __future__ import annotations

import ctypes
import functools
import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blear.data.decoded.decoded_layout import ArraySpecs, align64
from blear.data.shard.encoded_shard import EncodedSamples

_CHUNK_BYTES = 1 << 21  # decoded bytes between two writes: about the size of the processor's cache
_CHUNK_SAMPLES, _MAX_CHUNK_BYTES = 64, 1 << 23  # a chunk has at least so many samples, but not more bytes
_WRITE_BYTES = 1 << 20  # bytes of one write: for more, the page cache looks for larger blocks and may wait for them
_SYNC_FILE_RANGE_WRITE = 2
_thread = threading.local()


@dataclass(frozen=True)
class DecodeTask:
    """Samples to decode, and where to write their arrays.

    Attributes:
        samples: positions of the samples in the shard file.
        arrays: shape and type of each array of a sample.
        offsets: for each array, offset of the first sample in the output file; the other samples follow.
    """

    samples: EncodedSamples
    arrays: ArraySpecs
    offsets: Sequence[int]

    @staticmethod
    def contiguous(samples: EncodedSamples, arrays: ArraySpecs) -> tuple[DecodeTask, int]:
        """A task that writes the arrays one after another, each at a multiple of 64 bytes; and its total bytes."""
        offsets = [0]
        for shape, dtype in arrays:
            offsets.append(align64(offsets[-1] + len(samples) * math.prod(shape) * dtype.itemsize))
        return DecodeTask(samples, arrays, offsets[:-1]), offsets[-1]

    def run(self, source: int, target: int) -> dict[int, str]:
        """Decodes from the open file `source` into the open file `target`; returns broken samples, number -> cause.

        The arrays of a broken sample are zeros.

        Raises:
            OSError: one of the files cannot be read or written.
        """
        sample_bytes = sum(math.prod(shape) * dtype.itemsize for shape, dtype in self.arrays)
        chunk_bytes = min(max(_CHUNK_BYTES, _CHUNK_SAMPLES * sample_bytes), _MAX_CHUNK_BYTES)
        chunk_samples = max(1, chunk_bytes // sample_bytes)
        broken: dict[int, str] = {}
        for rows in split_evenly(len(self.samples), chunk_samples):
            first = int(rows[0])
            outputs = [buffer[: len(rows)] for buffer in self._buffers(chunk_samples)]
            causes = self.samples.decode(source, rows, outputs, range(len(rows)))
            broken |= causes
            for offset, output in zip(self.offsets, outputs, strict=True):
                for row in causes:
                    output[row - first] = 0  # the same bytes in whichever process the task runs
                start = offset + first * output[0].nbytes
                write_at(target, output, start)
                start_writeback(target, start, output.nbytes)
        return broken

    def _buffers(self, rows: int) -> list[np.ndarray]:
        """This thread's arrays for a chunk, which are reused: newly allocated memory costs page faults."""
        made_for = (self.arrays, rows)
        if getattr(_thread, "made_for", None) != made_for:
            _thread.arrays = [np.empty((rows, *shape), dtype) for shape, dtype in self.arrays]
            _thread.made_for = made_for
        arrays: list[np.ndarray] = _thread.arrays
        return arrays


def split_evenly(count: int, max_length: int) -> list[np.ndarray]:
    """Splits range(count) into the fewest runs of at most `max_length` numbers, of nearly equal length.

    For instance (10, 4) -> [0..3], [4..7], [8, 9].
    """
    step = -(-count // max(1, -(-count // max_length)))
    return [np.arange(first, min(first + step, count)) for first in range(0, count, max(1, step))]


def write_at(descriptor: int, array: np.ndarray, offset: int) -> None:
    """Writes a contiguous array to an open file at an offset."""
    data = array.data.cast("B") if array.size else memoryview(b"")
    while len(data):
        written = os.pwrite(descriptor, data[:_WRITE_BYTES], offset)
        data, offset = data[written:], offset + written


def start_writeback(descriptor: int, offset: int, size: int) -> None:
    """Makes the kernel write a part of an open file to the disk in the background, so that a later fsync waits less."""
    if (start := _sync_file_range()) is not None:
        start(descriptor, offset, size, _SYNC_FILE_RANGE_WRITE)


@functools.cache
def _sync_file_range() -> Any:
    """The function of Linux' C library, which Python's `os` lacks; None on other systems."""
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function
