"""Benchmark of evaluation statistics: bootstrap resamples, the summary in one and two threads, near-duplicates."""

from __future__ import annotations

import json
import os
import statistics
from dataclasses import replace

import numpy as np
import pyarrow as pa
from measuring import Row, interleaved, quartiles

from blear.data.audit.hamming_pairs import hamming_pairs
from blear.evaluate.predictions import SCHEMA, TARGETS_KEY
from blear.evaluate.statistics.resampler import ClusteredPredictions, Resampler
from blear.evaluate.summarise import summarise
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
            "200 resamples, 3 metrics: cells": lambda: resampler.estimates(rows, CLASSIFICATION),
        },
        repeats=5,
    )
    loop, sums = ([1000 * s for s in taken] for taken in seconds.values())
    ratio = statistics.median(loop) / statistics.median(sums)
    hashes = rng.integers(2**64, size=HASHES, dtype=np.uint64)
    search = [1000 * s for s in interleaved({"pairs": lambda: hamming_pairs(hashes, 3)}, repeats=3, warm=1)["pairs"]]
    return [
        Row("200 resamples, 3 metrics: loop", statistics.median(loop), "ms", spread=quartiles(loop)),
        Row("200 resamples, 3 metrics: cells", statistics.median(sums), "ms", ratio, "loop", quartiles(sums)),
        *_summaries(),
        Row("near-duplicates of 10^6 hashes, radius 3", statistics.median(search), "ms", spread=quartiles(search)),
    ]


def _summaries() -> list[Row]:
    """Four arms at four severities, 70,000 samples each: all of summary.json, 1,000 resamples."""
    table, given = _predictions(arms=4, levels=4, samples=70_000), os.environ.get("OMP_NUM_THREADS")

    def run(threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        summarise(table, CLASSIFICATION, reference="arm 0", seed=0)

    try:
        seconds = interleaved({1: lambda: run(1), 2: lambda: run(2)}, repeats=3, warm=0)
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        os.environ |= {} if given is None else {"OMP_NUM_THREADS": given}
    one, two = (statistics.median(taken) for taken in seconds.values())
    name = f"summary of {len(table):,} rows"
    return [
        Row(f"{name}, one thread", one, "s", spread=quartiles(seconds[1])),
        Row(f"{name}, two threads", two, "s", one / two, "one", quartiles(seconds[2])),
    ]


def _predictions(arms: int, levels: int, samples: int) -> pa.Table:
    rng, count = np.random.default_rng(1), arms * levels * samples
    arm_N, level_N, sample_N = np.unravel_index(np.arange(count), (arms, levels, samples))
    truth_N = rng.integers(CLASSES, size=samples)[sample_N]
    p_NK = rng.random((count, CLASSES))
    p_NK[np.arange(count), truth_N] += 1 - 0.1 * level_N
    names = np.char.add("arm ", arm_N.astype(str))
    columns = {
        "arm": names,
        "stage": names,
        "seed": np.zeros(count, np.int64),
        "sample": sample_N.astype(str),
        "condition": np.full(count, "blur"),
        "severity": level_N.astype(float),
        "found": np.ones(count, bool),
        "target": np.full(count, "emotion"),
        "truth": truth_N.astype(float),
        "prediction": p_NK.argmax(axis=1).astype(float),
        "probabilities": pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * CLASSES, p_NK.ravel()),
        "subject": np.full(count, ""),
        "video": np.full(count, ""),
    }
    known = {name: pa.array(column) for name, column in columns.items()}
    missing = {field.name: pa.nulls(count, field.type) for field in SCHEMA if field.name not in known}
    labels = {"emotion": [f"class {number}" for number in range(CLASSES)]}
    metadata = {TARGETS_KEY: json.dumps(labels).encode()}
    return pa.table(known | missing).select(SCHEMA.names).cast(SCHEMA.with_metadata(metadata))
