"""The file of one decoded shard: written from an encoded shard, read through a memory map.

Layout of the file, where N is the number of samples:
    frames [N, T, H, W, C], at offset 0
    clean clips [N, T, H, W, C], if the split has them, at a multiple of 64 bytes
    labels, float64 [N, K], at a multiple of 64 bytes: a column for each target, and the number of frames where clips
        differ in length
    a JSON object: broken samples by number, size and modification time of the encoded shard, checksums of blocks
    length of the JSON object, uint64
    magic, 8 bytes
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blear.data.decoded.cache_lock import CacheFileLock
from blear.data.decoded.decode_task import DecodeTask, split_evenly, write_at
from blear.data.decoded.decoded_layout import DecodedLayout
from blear.data.decoded.open_files import too_many_open_files
from blear.data.decoded.worker_pool import DecodePool, run_task
from blear.data.shard.encoded_shard import EncodedShard

_MAGIC = b"BLEARDEC"
_TASKS_PER_THREAD = 2  # at least: with several tasks for each thread, all threads end at about the same time
_TASK_BYTES = 1 << 23
_BLOCKS, _BLOCK_BYTES = 16, 4096  # whose checksums are compared when a file is opened


@dataclass(frozen=True, eq=False)
class DecodedShard:
    """A decoded shard of N samples.

    Attributes:
        arrays: memory-mapped frames [N, T, H, W, C], and clean clips if the split has them.
        values_NK: labels, float64 [N, K].
        broken: number of each broken sample -> cause.
        shard_state: size and modification time of the encoded shard when it was decoded (`shard_state`).
    """

    arrays: Sequence[np.ndarray]
    values_NK: np.ndarray
    broken: dict[int, str]
    shard_state: list[int]

    @staticmethod
    def unreadable(layout: DecodedLayout, count: int, cause: str) -> DecodedShard:
        """Placeholder for a shard that cannot be read: all of its samples are broken for the same cause."""
        arrays = [np.broadcast_to(np.zeros((), dtype), (count, *shape)) for shape, dtype in layout.arrays]
        values_NK = np.zeros((count, layout.label_columns))
        return DecodedShard(arrays, values_NK, dict.fromkeys(range(count), cause), [])

    @staticmethod
    def open(path: Path, layout: DecodedLayout, count: int) -> DecodedShard | None:
        """Opens the file of a decoded shard; returns None if the file does not exist or is damaged.

        Raises:
            OSError: there are too many open files.
        """
        *array_offsets, values_offset, json_offset = layout.offsets(count)
        try:
            with path.open("rb") as file:
                file.seek(-16, os.SEEK_END)
                size, magic = struct.unpack("<Q8s", file.read(16))
                if magic != _MAGIC or file.seek(0, os.SEEK_END) != json_offset + size + 16:
                    return None
                file.seek(values_offset)
                values = np.frombuffer(file.read(json_offset - values_offset), "<f8")
                values_NK = values.reshape(count, layout.label_columns)
                facts = json.loads(file.read(size))
                if facts["blocks"] != _block_checksums(file.fileno(), json_offset):
                    return None
                # one map for all arrays: each map holds a file descriptor
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                arrays = [
                    np.frombuffer(content, dtype, count * math.prod(shape), offset).reshape(count, *shape)
                    for offset, (shape, dtype) in zip(array_offsets, layout.arrays, strict=True)
                ]
        except (OSError, ValueError, KeyError) as error:  # evicted just now, or damaged
            if isinstance(error, OSError) and too_many_open_files(error):
                raise
            return None
        broken = {int(row): cause for row, cause in facts["broken"].items()}
        return DecodedShard(arrays, values_NK, broken, facts["shard"])


def write_decoded_shard(
    lock: CacheFileLock,
    encoded: EncodedShard,
    layout: DecodedLayout,
    advance: Callable[[int], None],
    on_submitted: Callable[[], None],
    pool: DecodePool,
    *,
    start_worker: bool,
) -> dict[int, str]:
    """Decodes a shard into a locked cache file with the threads of a pool; returns the broken samples.

    Args:
        advance: called with the number of samples decoded since the last call.
        on_submitted: called when all tasks are submitted.
        start_worker: whether threads without a worker process start one.

    Raises:
        OSError: the disk is full.
    """
    count = len(encoded)
    *array_offsets, values_offset, json_offset = layout.offsets(count)
    sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in layout.arrays]
    tasks = max(_TASKS_PER_THREAD, -(-count * layout.sample_bytes // (_TASK_BYTES * pool.threads))) * pool.threads
    task_samples = max(1, -(-count // tasks))

    def write(rows: np.ndarray) -> dict[int, str]:
        samples, first = encoded.samples.subset(rows), int(rows[0])
        offsets = [offset + first * size for offset, size in zip(array_offsets, sizes, strict=True)]
        task = DecodeTask(samples, layout.arrays, offsets)
        broken = run_task(task, encoded.shard.descriptor, lock.descriptor, start_worker=start_worker)
        advance(len(samples))
        return {first + row: cause for row, cause in broken.items()}

    results = pool.map(write, split_evenly(count, task_samples), on_submitted)
    broken = {row: cause for result in results for row, cause in result.items()}
    write_at(lock.descriptor, np.ascontiguousarray(encoded.values_NK), values_offset)
    blocks = _block_checksums(lock.descriptor, json_offset)
    broken_samples, state = dict(sorted(broken.items())), shard_state(encoded.shard.path)
    facts = json.dumps({"broken": broken_samples, "shard": state, "blocks": blocks}).encode()
    end = facts + struct.pack("<Q8s", len(facts), _MAGIC)
    write_at(lock.descriptor, np.frombuffer(end, np.uint8), json_offset)
    return broken


def _block_checksums(descriptor: int, size: int) -> str:
    """CRC-32 in hex digits of 16 blocks of 4 KiB, spread evenly over the first `size` bytes of an open file.

    The file is on the disk before it gets its name. The checksums find files whose pages were lost all the same, for
    instance by a disk that confirms writes too early.
    """
    last = max(0, size - _BLOCK_BYTES)
    offsets = [last * n // (_BLOCKS - 1) for n in range(_BLOCKS)]
    return "".join(f"{zlib.crc32(os.pread(descriptor, min(_BLOCK_BYTES, size), offset)):08x}" for offset in offsets)


def shard_state(shard: Path) -> list[int]:
    """Size and modification time (ns) of an encoded shard. A repaired shard differs from the broken one in them."""
    state = shard.stat()
    return [state.st_size, state.st_mtime_ns]
