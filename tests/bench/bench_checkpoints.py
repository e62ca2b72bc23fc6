"""Benchmark of checkpoints: a training with one checkpoint a second against the same with the last one only."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from pathlib import Path

from measuring import Row, quartiles

from blear.job.reader import read_job
from blear.pipeline.run import run_job

STEPS, BATCH, TURNS = 200, 64, 3
JOB = """name: {name}
data:
  faces: {{use: faces/procedural, size: 48, color: luma, subjects: {{train: 32, dev: 1}}, targets: [valence]}}
stages:
  all:
    data: faces
    backbone: {{use: robust/plain_resnet, width: 0.5}}
    head: {{use: vlqr/valence}}
    optimizer: {{use: sgd, lr: 0.01, momentum: 0.9}}
    batch_size: {batch}
    steps: {steps}
    checkpoint_every: {every}
"""


def measure() -> list[Row]:
    """Steps of a network of 1.5 million parameters (SGD with momentum), in this process and on Ray Train."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        os.environ["BLEAR_STORAGE"] = place
        pace = _steps_per_s(Path(place), "warm", "local", STEPS)
        every = max(1, round(pace))
        rows += _compared(Path(place), "local", every)
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            rows += _compared(Path(place), "ray", every)
        finally:
            ray.shutdown()
    return rows


def _compared(place: Path, runner: str, every: int) -> list[Row]:
    """Rows of a runner: the last checkpoint only, and one every `every` steps, in turns."""
    arms = {"last checkpoint only": STEPS, f"every {every} steps": every}
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(TURNS):
        for name, steps in arms.items():
            rates[name].append(_steps_per_s(place, f"{runner}-{steps}-{turn}", runner, steps))
    base = statistics.median(next(iter(rates.values())))
    return [
        Row(f"{runner}: {name}", statistics.median(rate), "steps/s", statistics.median(rate) / base if number else None,
            "last checkpoint only" if number else "", quartiles(rate))
        for number, (name, rate) in enumerate(rates.items())
    ]  # fmt: skip


def _steps_per_s(place: Path, name: str, runner: str, every: int) -> float:
    file = place / "job.yaml"
    file.write_text(JOB.format(name=name, batch=BATCH, steps=STEPS, every=every))
    job, catalog = read_job(file)
    run_job(job, catalog, runner=runner, fresh=False, command="bench", profile=None)
    record = json.loads((place / "runs" / name / "stages" / "all" / "stage.json").read_text())
    return float(record["samples_per_s"]) / BATCH
