"""Simulation of 10^9 samples in 100,000 shards on 1,024 workers: reads of a node, restarts, tasks of an evaluation.

The order is that of the real sampler; the time of a checkpoint is that of the real writer. Nodes, failures and restarts
are simulated. docs/scale.md has the results.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from measuring import Row
from torch import nn

from blear.data.sampling.sampler import Sampler
from blear.evaluate.blocks import BLOCK_SAMPLES
from blear.train.checkpoint import CheckpointWriter, TrainedModules, TrainerState

SAMPLES, SHARDS, NODES, WORKERS_OF_NODE, BATCH, SAMPLE_BYTES = 10**9, 100_000, 128, 8, 32_768, 2_000
BLOCK = 1_000  # samples of a block of the sampler
HOURS, RESTART_S = 200.0, 60.0  # of training; from a failure to the first step of the new worker group (assumed)
PARAMETERS = 25_000_000


def measure() -> list[Row]:
    """Returns the rows of docs/scale.md."""
    return [*_reads(), *_checkpoint(), *_restarts(), *_evaluation()]


def _reads() -> list[Row]:
    """Shards and blocks that one node reads in a window of four steps, with two sizes of shards."""
    rows = []
    for name, counts in (("10,000 samples a shard", [10_000] * SHARDS), ("1,000 samples a shard", [1_000] * 10**6)):
        sampler, world = Sampler(counts, BATCH, seed=1), NODES * WORKERS_OF_NODE
        shards, blocks = [], []
        for first in range(1000, 9000, 1000):
            batches = [sampler.batch(step)[1] for step in range(first, first + 4)]
            own = np.concatenate([batch[rank::world] for batch in batches for rank in range(WORKERS_OF_NODE)])
            shards.append(len(np.unique(own // counts[0])))
            blocks.append(len(np.unique(own // BLOCK)))
        rows.append(Row(f"{name}: shards that a node reads in 4 steps", statistics.median(shards), "shards"))
        rows.append(Row(f"{name}: blocks of 1,000 samples", statistics.median(blocks), "blocks"))
    windows = SAMPLES / (4 * BATCH)
    touched = rows[1].value
    epoch = SAMPLES * SAMPLE_BYTES
    return [
        *rows,
        Row("an epoch: requests of a node, one a sample", SAMPLES / NODES, "requests"),
        Row("an epoch: requests of a node, one a block", windows * touched, "requests"),
        Row("an epoch: bytes of a node, samples only", epoch / NODES / 1e9, "GB"),
        Row("an epoch: bytes of a node, whole blocks", windows * touched * BLOCK * SAMPLE_BYTES / 1e9, "GB"),
        Row("first epoch: bytes of a node, whole shards once", epoch / 1e9, "GB"),
        Row("first epoch: its download at 10 Gbit/s", epoch * 8 / 10e9, "s"),
    ]


def _checkpoint() -> list[Row]:
    """The pause of a step and the write of a checkpoint of 25 million parameters with Adam's state."""
    model = nn.Linear(5_000, PARAMETERS // 5_000, bias=False)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 5_000)).sum().backward()
    optimizer.step()
    pauses, writes = [], []
    with tempfile.TemporaryDirectory() as folder:
        writer = CheckpointWriter(Path(folder))
        for step in range(1, 4):
            began = time.perf_counter()
            writer.save(TrainerState(step), TrainedModules(model, optimizer))
            pauses.append(time.perf_counter() - began)
            writer.wait()
            writes.append(time.perf_counter() - began)
        writer.close()
    return [
        Row("checkpoint of 25 M parameters: pause of the step", statistics.median(pauses), "s"),
        Row("checkpoint of 25 M parameters: on disk after", statistics.median(writes), "s"),
    ]


def goodput(failures_per_node_hour: float, every_s: float, write_s: float, seed: int = 0) -> float:
    """Simulates a training of `HOURS` useful hours; returns useful time / total time.

    A failure of any node loses the steps since the newest checkpoint on disk, and `RESTART_S`.

    Args:
        every_s: seconds between two checkpoints.
        write_s: seconds until a checkpoint is on disk, during which training goes on.
    """
    rng = np.random.default_rng(seed)
    rate = failures_per_node_hour * NODES / 3600
    useful, total, target = 0.0, 0.0, HOURS * 3600
    while useful < target:
        until = rng.exponential(1 / rate) if rate else math.inf
        if useful + until >= target:
            return target / (total + target - useful)
        saved = math.floor(max(0.0, until - write_s) / every_s) * every_s
        useful += saved
        total += until + RESTART_S
    return target / total


def _restarts() -> list[Row]:
    rows = []
    for rate in (0.0001, 0.001, 0.01):
        for every in (60.0, 600.0, 3600.0):
            share = statistics.mean(goodput(rate, every, 10.0, seed) for seed in range(10))
            name = f"{rate:g} failures of a node an hour, a checkpoint every {every:g} s"
            rows.append(Row(f"{name}: useful time", 100 * share, "%"))
    return rows


def _evaluation() -> list[Row]:
    blocks = [-(-samples // BLOCK_SAMPLES) for samples in (67_500, 10**6, 10**8)]
    names = ("67,500", "10^6", "10^8")
    return [
        Row(f"evaluation of {name} samples, 7 arms x 8 levels: tasks", 56.0 * count, "tasks")
        for name, count in zip(names, blocks, strict=True)
    ]
