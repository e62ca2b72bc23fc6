"""Benchmark of evaluation statistics: bootstrap resamples (matrix product or loop), search for near-duplicates."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
from measuring import Row, interleaved, quartiles

from blear.data.audit.hamming_pairs import hamming_pairs
from blear.evaluate.statistics.resampler import ClusteredPredictions, Resampler
from blear.metrics import CLASSIFICATION

SAMPLES, CLASSES, RESAMPLES, HASHES = 3589, 7, 200, 1_000_000


def measure() -> list[Row]:
    """Measures a data set like FER2013's PublicTest: one cluster per sample, three metrics, intervals, jackknife."""
    rng = np.random.default_rng(0)
    truth = rng.integers(CLASSES, size=SAMPLES).astype(float)
    rows = ClusteredPredictions(truth, np.where(rng.random(SAMPLES) < 0.6, truth, 0.0), np.arange(SAMPLES), CLASSES)
    resampler = Resampler(SAMPLES, RESAMPLES, seed=0)
    loops = [replace(metric, from_sums=None) for metric in CLASSIFICATION]
    seconds = interleaved(
        {
            "200 resamples, 3 metrics: loop": lambda: resampler.estimates(rows, loops),
            "200 resamples, 3 metrics: sums": lambda: resampler.estimates(rows, CLASSIFICATION),
        },
        repeats=5,
    )
    loop, sums = ([1000 * s for s in taken] for taken in seconds.values())
    ratio = statistics.median(loop) / statistics.median(sums)
    hashes = rng.integers(2**64, size=HASHES, dtype=np.uint64)
    search = [1000 * s for s in interleaved({"pairs": lambda: hamming_pairs(hashes, 3)}, repeats=3, warm=1)["pairs"]]
    return [
        Row("200 resamples, 3 metrics: loop", statistics.median(loop), "ms", spread=quartiles(loop)),
        Row("200 resamples, 3 metrics: sums", statistics.median(sums), "ms", ratio, "loop", quartiles(sums)),
        Row("near-duplicates of 10^6 hashes, radius 3", statistics.median(search), "ms", spread=quartiles(search)),
    ]
