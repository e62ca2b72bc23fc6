"""Batches of a split, read ahead in background threads within a stated budget of memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from blear.data.frame_sampling import Moments, Pick, Windows
from blear.data.reader_threads import Readers, within
from blear.data.sampling.sampler import Order
from blear.data.sampling.weighted_sampler import DrawOrder
from blear.errors import DataError, JobError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from blear.data.dataset_info import ShardInfo
    from blear.data.decoded.store import Taken

AHEAD_BYTES = 256 * 2**20
"""Memory for batches that are read ahead; one batch is, even if it is larger."""
Work = Callable[[int, "RawBatch"], "RawBatch"]
"""What the threads do to a batch on the CPU once it is read, by its number."""
_MOST_AHEAD = 16
_SHOWN = 4
_STALL_S = 600.0


@dataclass(frozen=True)
class RawBatch:
    """Stored clips as they are, before augmentation and degradation. Samples that are broken are left out.

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

    @property
    def bytes(self) -> int:
        """Size of its tensors."""
        tensors = [self.frames_BTCHW, self.clean_BTCHW, *self.targets.values()]
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)


class Source(Protocol):
    """What batches are read from: a `Store`, or one that keeps its samples on the device. Thread-safe.

    Attributes:
        shards: what the split consists of; samples are numbered through them, broken ones included.
        progress: a number that grows while a long `take` is at work.
    """

    @property
    def shards(self) -> Sequence[ShardInfo]: ...

    @property
    def progress(self) -> int: ...

    def __len__(self) -> int: ...

    def take(self, samples_B: np.ndarray, pick: Pick | None = None) -> Taken:
        """The samples that are not broken; `pick` chooses the frames of each clip."""
        ...

    def lengths(self, samples_B: np.ndarray) -> np.ndarray:
        """Frames that each clip has, int64 [B]."""
        ...

    def keys(self, samples_B: np.ndarray) -> list[str]:
        """The samples' keys."""
        ...


@dataclass(frozen=True)
class _Part:
    """What a batch is made of."""

    epochs_B: np.ndarray
    samples_B: np.ndarray
    pick: Pick | None

    @staticmethod
    def of(epochs_B: np.ndarray, samples_B: np.ndarray, moments: Moments | None) -> _Part:
        """A batch whose clips give the frames that `moments` says, or all."""
        return _Part(epochs_B, samples_B, None if moments is None else partial(moments, epochs_B, samples_B))


def batches(
    store: Source,
    order: Order | DrawOrder,
    start: int,
    stop: int,
    rank: int = 0,
    world: int = 1,
    *,
    moments: Moments | None = None,
    work: Work | None = None,
    device: torch.device | None = None,
    budget: int = AHEAD_BYTES,
    threads: int = 1,
    stall_s: float = _STALL_S,
) -> Generator[RawBatch, None, None]:
    """The share of worker `rank` in global batches `start` to `stop - 1`, in order whatever the number of threads.

    The threads end with the iterator, also when the consumer stops early; their errors are raised in the consumer.

    Args:
        moments: which frames of each clip; None: all of them.
        work: done by the threads to each batch before it goes to the device; what it gives counts for the budget.
        device: where the batches are wanted. For CUDA they are pinned and copied by the threads, on a stream of their
            own, so that no step waits for a copy; else they stay in CPU memory.
        budget: bytes that batches read ahead may take: they set how far ahead is read, at least one batch.
        threads: that read; each reads a whole batch.
        stall_s: seconds without progress after which a batch that does not come is an error.

    Raises:
        JobError: a batch is too small to give each worker a sample.
        DataError: while iterating: what the store raises; a share has broken samples only; reading stalls.
    """
    if order.batch_size < world:
        raise JobError(
            f"a batch of {order.batch_size} samples cannot be shared by {world} workers",
            "batch_size",
            f"set batch_size to {world} or more, or lower cluster.workers",
        )

    def part(step: int) -> _Part:
        return _Part.of(*order.part(step, rank, world), moments)

    reader = _Reader(store, part, work, _placing(device), may_be_empty=False)
    return _read_ahead(reader, range(start, stop), budget, threads, stall_s)


def sequential(
    store: Source,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
    *,
    moments: Moments | Windows | None = None,
    work: Work | None = None,
) -> Generator[RawBatch, None, None]:
    """Every sample of worker `rank` once, in order, epochs 0; batches may be smaller, and none is empty.

    The workers' samples are consecutive ranges of the split, equal but for one sample. With `Windows` a sample comes
    once for each of its windows. `work` and errors as of `batches`.
    """
    if batch_size < 1 or not 0 <= rank < world:
        raise ValueError(f"batch_size {batch_size} must be at least 1, rank {rank} in a world of {world}")
    first, end = len(store) * rank // world, len(store) * (rank + 1) // world
    count, windows = end - first, None
    if isinstance(moments, Windows):
        clips, begins = moments.rows(store.lengths(np.arange(first, end, dtype=np.int64)))
        count, windows = len(clips), (clips + first, begins, moments)

    def part(number: int) -> _Part:
        rows = slice(number * batch_size, min((number + 1) * batch_size, count))
        if windows is not None:
            samples_B, pick = windows[0][rows], windows[2].pick(windows[1][rows])
            return _Part(np.zeros_like(samples_B), samples_B, pick)
        samples_B = np.arange(first + rows.start, first + rows.stop, dtype=np.int64)
        return _Part.of(np.zeros_like(samples_B), samples_B, None if isinstance(moments, Windows) else moments)

    reader = _Reader(store, part, work, _placing(None), may_be_empty=True)
    return _read_ahead(reader, range(-(-count // batch_size)), AHEAD_BYTES, 1, _STALL_S)


def _read_ahead(
    reader: _Reader, numbers: range, budget: int, threads: int, stall_s: float
) -> Generator[RawBatch, None, None]:
    """Batches in order; those being read and those that wait are within the budget."""
    readers = Readers(reader.read, threads, "blear-batches")
    waiting: deque[tuple[int, Future[tuple[RawBatch, int]]]] = deque()
    left, depth, patience = iter(numbers), 1, stall_s

    def fill() -> None:
        if len(waiting) > depth // 2:  # many at once: each time that a thread wakes costs a step that has all cores
            return
        while len(waiting) < depth and (number := next(left, None)) is not None:
            waiting.append((number, readers.submit(number)))

    try:
        fill()  # one alone: its size tells how many the budget holds
        while waiting:
            number, future = waiting.popleft()
            if not _comes(future, stall_s, reader.store):
                patience = 0.0
                raise reader.stalled(number, stall_s)
            batch, size = future.result()
            depth = max(1, min(_MOST_AHEAD, budget // max(1, size)))
            del future
            fill()
            if len(batch.samples_B):
                yield batch
            del batch  # the consumer's own from here on
    finally:
        readers.close(patience)


def _comes(future: Future[tuple[RawBatch, int]], stall_s: float, store: Source) -> bool:
    """Waits for a batch; False once nothing has gone on for `stall_s`."""
    before = store.progress
    while not wait([future], stall_s).done:
        if store.progress == before:
            return False
        before = store.progress
    return True


@dataclass
class _Reader:
    """Reads a batch by its number; called by several threads.

    Attributes:
        place: moves a tensor to where it is wanted.
    """

    store: Source
    part: Callable[[int], _Part]
    work: Work | None
    place: Callable[[Tensor], Tensor]
    may_be_empty: bool

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def read(self, number: int) -> tuple[RawBatch, int]:
        """The batch, and its size in bytes if none of its samples were broken."""
        with self._lock:  # one thread computes the permutation that the others need too
            part = self.part(number)
        epochs_B, samples_B = part.epochs_B, part.samples_B
        taken = self.store.take(samples_B, part.pick)
        good = int(taken.good_B.sum())
        if not (good or self.may_be_empty):
            raise DataError(
                f"every sample of a worker's share of batch {number} is broken: {self._names(samples_B)}",
                self._shards(samples_B),
                "prepare these shards again, or raise batch_size",
            )
        batch = RawBatch(
            epochs_B[taken.good_B],
            samples_B[taken.good_B],
            taken.frames,
            taken.clean,
            taken.targets,
        )
        if self.work is not None and good:
            batch = self.work(number, batch)
        batch = RawBatch(
            batch.epochs_B,
            batch.samples_B,
            self.place(batch.frames_BTCHW),
            None if batch.clean_BTCHW is None else self.place(batch.clean_BTCHW),
            {name: self.place(values) for name, values in batch.targets.items()},
        )
        return batch, batch.bytes * len(samples_B) // max(1, good)

    def stalled(self, number: int, seconds: float) -> DataError:
        """The error of a batch that does not come."""
        samples_B = self.part(number).samples_B
        # the keys may lie where reading hangs
        names = within(lambda: self._names(samples_B), 2.0) or f"numbers {samples_B[:_SHOWN].tolist()}, ..."
        return DataError(
            f"reading batch {number} has not ended for {seconds:g} s: {names}",
            self._shards(samples_B),
            "see whether this storage answers; if it is only slow, raise cluster.stall_s",
        )

    def _names(self, samples_B: np.ndarray) -> str:
        more = len(samples_B) - _SHOWN
        return f"samples {', '.join(self.store.keys(samples_B[:_SHOWN]))}{f' and {more} more' if more > 0 else ''}"

    def _shards(self, samples_B: np.ndarray) -> str:
        ends = np.cumsum([shard.samples for shard in self.store.shards])
        numbers = np.unique(np.searchsorted(ends, samples_B, side="right")).tolist()
        shown = ", ".join(self.store.shards[number].name for number in numbers[:_SHOWN])
        return f"{shown}{f' and {len(numbers) - _SHOWN} more shards' if len(numbers) > _SHOWN else ''}"


def _placing(device: torch.device | None) -> Callable[[Tensor], Tensor]:
    """What moves a tensor to the device in a reading thread."""
    if device is None or device.type != "cuda":
        return lambda tensor: tensor
    import torch

    stream = torch.cuda.Stream(device)
    steps = torch.cuda.current_stream(device)

    def place(tensor: Tensor) -> Tensor:
        if tensor.device.type == "cuda":
            return tensor
        with torch.cuda.stream(stream):
            there = tensor.pin_memory().to(device, non_blocking=True)
            stream.synchronize()  # of this thread alone: the steps go on
        there.record_stream(steps)  # its memory is not given to the next copy before the step is done
        return there

    return place
