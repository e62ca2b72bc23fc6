"""Decodes single samples of encoded shards into a batch, for shards that are not in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blear.data.decoded.copy_samples import copy_samples, take_frames
from blear.data.decoded.decoded_layout import DecodedLayout
from blear.data.decoded.worker_pool import DecodePool, decode_in_worker
from blear.data.shard.encoded_shard import EncodedShard

_WORKER_BYTES = 1 << 17  # encoded bytes of a job; smaller jobs do not pay for sending them to a worker process


@dataclass(frozen=True, eq=False)
class DecodeJob:
    """Samples of one shard that one thread decodes.

    Attributes:
        shard: number of the shard.
        encoded: the open shard.
        rows: numbers of the samples in the shard, int64 [R].
        positions: positions of the samples in the batch, int64 [R].
    """

    shard: int
    encoded: EncodedShard
    rows: np.ndarray
    positions: np.ndarray


def max_jobs(encoded: EncodedShard, rows: np.ndarray) -> int:
    """Into how many jobs it pays to split the decoding of `rows`."""
    return _encoded_bytes(encoded, rows) // _WORKER_BYTES


def decode_samples(
    jobs: Sequence[DecodeJob],
    arrays: Sequence[np.ndarray],
    frames_BT: np.ndarray | None,
    layout: DecodedLayout,
    pool: DecodePool,
    *,
    start_worker: bool,
) -> list[dict[int, str]]:
    """Decodes samples into the arrays of a batch; returns the broken samples of each job, number in the shard -> cause.

    Args:
        arrays: frames [B, T, H, W, C] of the batch, and clean clips if the split has them.
        frames_BT: indices of the frames to keep of each clip; None: all frames.
        layout: array shapes and types of the samples.
        pool: threads that decode the jobs.
        start_worker: whether threads without a worker process start one.
    """

    def decode(job: DecodeJob) -> dict[int, str]:
        encoded, rows, positions = job.encoded, job.rows, job.positions
        try:
            if frames_BT is None:
                decoded = None
                if _encoded_bytes(encoded, rows) >= _WORKER_BYTES // 2:
                    source = encoded.shard.descriptor
                    decoded = decode_in_worker(encoded.samples, rows, layout.arrays, source, start_worker=start_worker)
                if decoded is None:
                    return encoded.decode(rows, arrays, positions.tolist())
                clips, causes = decoded
                for clip, array in zip(clips, arrays, strict=True):
                    copy_samples((clip, np.arange(len(rows)), array, positions), None)
                return {int(rows[n]): cause for n, cause in causes.items()}
            broken: dict[int, str] = {}
            whole_clips = [np.empty((1, *shape), dtype) for shape, dtype in layout.arrays]
            for row, position in zip(rows[:, None], positions.tolist(), strict=True):  # one by one: clips are large
                broken |= encoded.decode(row, whole_clips, [0])
                for clip, array in zip(whole_clips, arrays, strict=True):
                    take_frames(clip[0], frames_BT[position], array[position])
            return broken
        except OSError as error:
            return dict.fromkeys(rows.tolist(), f"the shard cannot be read: {error.strerror}")

    return pool.map(decode, jobs)


def _encoded_bytes(encoded: EncodedShard, rows: np.ndarray) -> int:
    """Approximate encoded bytes of some samples."""
    return len(rows) * encoded.samples.bytes // len(encoded)
