"""Benchmark of the sampler: 10**9 samples in 100,000 shards of different sizes, on one of 1,024 workers."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from measuring import Row, quartiles

from blear.data.sampling.sampler import Sampler

WORLD, BATCH, SAMPLES, SHARDS = 1024, 1024 * 32, 10**9, 100_000


def measure() -> list[Row]:
    """Measures times, memory and locality. Every timed epoch and window is opened for the first time."""
    counts = np.random.default_rng(0).integers(1, 20_000, SHARDS)
    counts[0] += SAMPLES - counts.sum()
    sampler = Sampler(counts, BATCH, seed=1)
    steps = SAMPLES // BATCH
    epochs = iter(range(1, 10**6))
    rank = WORLD - 1
    running = iter(range(steps // 2, steps))
    rows = [
        _timed("cut 10^9 samples into blocks, open an epoch, first batch", lambda: _fresh(counts, rank)),
        _timed(
            "open another epoch: its first batch", lambda: sampler.worker_batch(steps * next(epochs) + 1, rank, WORLD)
        ),
        _timed(
            "resume in the middle of another epoch",
            lambda: sampler.worker_batch(steps * next(epochs) + 999, rank, WORLD),
        ),
        _timed("next batch of 32,768", lambda: sampler.worker_batch(next(running), rank, WORLD), repeats=200),
    ]
    small = iter(range(1, 10**6))
    whole = Sampler([2**20] * 4, 128, seed=1)
    rows.append(
        _timed(
            "open an epoch of 2^22 samples, permuted whole", lambda: whole.worker_batch(next(small) * 2**15, 0, WORLD)
        )
    )
    return [
        *rows,
        _memory("memory for 10^9 samples", counts),
        _memory("memory for 2^22 samples", [2**20] * 4),
        *_local(),
    ]


def _fresh(counts: np.ndarray, rank: int) -> None:
    Sampler(counts, BATCH, seed=1).worker_batch(0, rank, WORLD)


def _timed(name: str, call: Callable[[], object], repeats: int = 7) -> Row:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    milliseconds = [1000 * took for took in seconds]
    return Row(name, statistics.median(milliseconds), "ms", spread=quartiles(milliseconds))


def _memory(name: str, counts: np.ndarray | list[int]) -> Row:
    """Returns the peak memory over the first batches of two epochs."""
    tracemalloc.start()
    sampler = Sampler(counts, BATCH, seed=2)
    for epoch in range(2):
        for step in range(8):
            sampler.worker_batch(epoch * (sampler.count // BATCH + 1) + step, 0, WORLD)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Row(name, peak / 1e6, "MB")


def _local() -> list[Row]:
    """Returns the number of shards that 100 batches of 1,024 samples read."""
    counts = np.random.default_rng(0).integers(1, 20_000, SHARDS)
    ends = np.cumsum(counts)
    sampler = Sampler(counts, 1024, seed=3)
    touched = []
    for start in range(1000, 800_000, 100_000):
        samples = np.concatenate([sampler.batch(step)[1] for step in range(start, start + 100)])
        touched.append(float(len(np.unique(np.searchsorted(ends, samples, side="right")))))
    anyhow = np.random.default_rng(1).integers(0, ends[-1], 100 * 1024)
    spread_out = float(len(np.unique(np.searchsorted(ends, anyhow, side="right"))))
    name = "shards read in 100 batches of 1,024"
    median = statistics.median(touched)
    return [
        Row(f"{name}, permuted whole", spread_out, "shards"),
        Row(name, median, "shards", spread_out / median, "permuted whole", quartiles(touched)),
    ]
