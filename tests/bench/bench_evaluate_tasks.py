"""Benchmark of evaluation: a block of samples against a plain loop over the model; two Ray tasks against one."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from measuring import Row, interleaved, rate_rows

from blear.data.loader import sequential_batches
from blear.degradation.chain import as_float
from blear.evaluate.blocks import Block, divide
from blear.evaluate.on_ray.block_tasks import EvaluationPlan, evaluate_block, open_evaluator
from blear.job.reader import read_job
from blear.pipeline.prepare import prepare_data
from blear.pipeline.run import run_job
from blear.storage.run_folder import RunFolder

SAMPLES, BATCH, BLOCK = 512, 32, 2
JOB = f"""name: bench
data:
  faces: {{use: faces/procedural, size: 96, color: luma, subjects: {{train: 1, dev: 16}}, per_subject: {SAMPLES // 16},
    targets: [valence]}}
stages:
  all:
    data: faces
    backbone: {{use: vlqr/cnn5x5}}
    head: {{use: vlqr/valence}}
    optimizer: {{lr: 0.001}}
    batch_size: 8
    steps: 1
evaluate:
  sweep: [{{use: gaussian_blur, over: {{severity: [2]}}}}]
  arms: {{one: {{stage: all}}}}
  resamples: 20
  batch_size: {BATCH}
  faces: 2
"""


def measure() -> list[Row]:
    """One thread for each process; 512 faces of 96 px, blurred, through CNN+D."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        os.environ["BLEAR_STORAGE"] = place
        (Path(place) / "job.yaml").write_text(JOB)
        job, catalog = read_job(Path(place) / "job.yaml")
        run_job(job, catalog, runner="local", fresh=False, command="bench", profile=None)
        plan = EvaluationPlan(job, RunFolder(Path(place) / "runs" / "bench"), prepare_data(job, catalog))
        evaluator = open_evaluator(plan)
        (whole,) = evaluator.blocks()
        model, (transform, context) = evaluator.model(whole.stage), evaluator.transform(whole.stage)
        chain = evaluator.chain(whole.level, context)

        @torch.no_grad()
        def loop() -> None:
            for raw in sequential_batches(evaluator.store, BATCH):
                frames = transform(as_float(raw.frames_BTCHW, torch.device("cpu")), raw.epochs_B, raw.samples_B)
                model.head.decode(model(chain(frames, raw.epochs_B, raw.samples_B)))

        def block() -> None:
            evaluate_block(plan, whole, Path(place) / "block.arrow")

        rows = rate_rows(
            interleaved({"plain loop": loop, "block": block}, repeats=3, warm=1), SAMPLES, "frames/s", "plain loop"
        )
        return rows + _scaling(plan, list(divide([whole], evaluator.count_batches, BLOCK)), Path(place))


def _scaling(plan: EvaluationPlan, blocks: list[Block], place: Path) -> list[Row]:
    """The blocks in Ray tasks of one CPU, on a local Ray of two CPUs: one at a time, and two at a time."""
    if (os.cpu_count() or 1) < 2:
        return []
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        task = ray.remote(num_cpus=1)(evaluate_block)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(4):
            for workers, taken in seconds.items():
                began, running = time.perf_counter(), []
                for number, block in enumerate(blocks):
                    running.append(task.remote(plan, block, place / f"{number}.arrow"))
                    if len(running) == workers:
                        done, running = ray.wait(running)
                        ray.get(done)
                ray.get(running)
                if turn:  # the first turn starts the processes and loads the model
                    taken.append(SAMPLES / (time.perf_counter() - began))
        one, two = (statistics.median(taken) for taken in seconds.values())
        return [Row("tasks, one worker", one, "frames/s"), Row("tasks, two workers", two, "frames/s", two / one, "one")]
    finally:
        ray.shutdown()
