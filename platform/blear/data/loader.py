"""Batches in CPU memory, read ahead by one background thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blear.data.order import Order
from blear.data.store import Store
from blear.errors import JobError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RawBatch:
    """Stored clips as they are, before augmentation and degradation.

    Attributes:
        epochs_B, samples_B: int64; which pass, and which sample of the split.
        frames_BTCHW: uint8 in 0..255 or float32 in about [0, 1].
        clean_BTCHW: the samples' own clean clips, if they have any.
        targets: target name -> int64 [B] class index or float32 [B] value.
    """

    epochs_B: np.ndarray
    samples_B: np.ndarray
    frames_BTCHW: Tensor
    clean_BTCHW: Tensor | None
    targets: Mapping[str, Tensor]


def batches(
    store: Store, order: Order, start: int, stop: int, rank: int = 0, world: int = 1, prefetch: int = 2
) -> Iterator[RawBatch]:
    """The share of worker `rank` in global batches `start` to `stop - 1`; up to `prefetch` are read ahead.

    The thread ends with the iterator, also when the consumer stops early; its errors are raised in the consumer.

    Raises:
        JobError: a batch is too small to give each worker a sample.
    """
    if order.batch_size < world:
        raise JobError(
            f"a batch of {order.batch_size} samples cannot be shared by {world} workers",
            "batch_size",
            f"set batch_size to {world} or more, or lower cluster.workers",
        )
    return _read_ahead(store, (order.part(step, rank, world) for step in range(start, stop)), prefetch)


def sequential(store: Store, batch_size: int) -> Iterator[RawBatch]:
    """Every sample once, in order, epochs 0; the last batch may be smaller."""
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size} must be at least 1")
    ranges = (np.arange(first, min(first + batch_size, len(store))) for first in range(0, len(store), batch_size))
    return _read_ahead(store, ((np.zeros_like(samples_B), samples_B) for samples_B in ranges), 1)


def _read_ahead(store: Store, parts: Iterable[tuple[np.ndarray, np.ndarray]], ahead: int) -> Iterator[RawBatch]:
    waiting: deque[Future[RawBatch]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="blear-batches")
    try:
        for epochs_B, samples_B in parts:
            waiting.append(pool.submit(_read, store, epochs_B, samples_B))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(store: Store, epochs_B: np.ndarray, samples_B: np.ndarray) -> RawBatch:
    return RawBatch(epochs_B, samples_B, *store.take(samples_B))
