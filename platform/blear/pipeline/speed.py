"""Measures how fast this machine trains a stage, on a few steps with blank clips."""

from __future__ import annotations

import time

import numpy as np
import torch

from blear.contracts import BuildContext
from blear.data.raw_batch import RawBatch
from blear.job.schema import Job
from blear.pipeline.data_facts import DataFacts
from blear.pipeline.example_batch import example_batch
from blear.plugin.catalog import Catalog
from blear.train.chains import stage_chains
from blear.train.model import build_for_loading
from blear.train.preprocessing import Preprocessing
from blear.train.worker import local_device

_STEPS = 3


def seconds_per_sample(job: Job, name: str, catalog: Catalog, facts: DataFacts) -> float:
    """Seconds that a training step takes for each sample: preprocessing, forward and backward pass.

    Args:
        name: of a stage.
        facts: of the stage's data.
    """
    stage = job.stages[name]
    device = local_device("auto" if job.cluster.gpu else False)
    counts = {key: (1,) * len(target.classes) for key, target in facts.targets.items() if target.classes}
    stored = BuildContext(job.seed, facts.clip, facts.targets, counts=counts)
    augment, degrade, built = stage_chains(job, name, catalog, stored)
    model = build_for_loading(catalog, stage, name, built).to(device).train()
    preprocess = Preprocessing(augment, degrade, device)
    size = min(32, stage.batch_size)
    raw: RawBatch = example_batch(facts.clip, facts.targets, None, size)
    times = []
    for _ in range(_STEPS):
        started = time.perf_counter()
        batch = preprocess(raw)
        model.head.loss(model(batch.frames_BTCHW), batch).backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return float(np.median(times)) / size
