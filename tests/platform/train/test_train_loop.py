"""The training loop: an interrupted run resumes bit by bit; its log."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from blear.errors import JobError
from blear.job.reader import read_job
from blear.train.loop import train_stage
from blear.train.plan import StagePlan
from blear.train.worker import LocalWorker


class DyingWorker(LocalWorker):
    """A worker that dies right after the checkpoint of a step."""

    def __init__(self, step: int) -> None:
        super().__init__(torch.device("cpu"))
        self.step = step

    def on_checkpoint(self, step: int, metrics: dict[str, float]) -> None:
        if step == self.step:
            raise ConnectionError("lost")


def final(plan: StagePlan) -> dict[str, np.ndarray]:
    return load_file(plan.run.weights(plan.stage))


@pytest.mark.parametrize("step", [2, 4])
def test_interrupted_and_resumed_gives_the_same_weights_to_the_bit(plan, step: int) -> None:
    """Momentum, dropout, sampling, draws and the cosine schedule continue; 6 steps of 24 span three epochs of 64."""
    overrides = ("stages.clean.steps=6", "stages.clean.optimizer.schedule=cosine", "stages.clean.batch_size=24")
    overrides += ("stages.clean.degrade=[{use: scale_mix, factors: [1, 2, 3]}]",)
    whole, cut = plan("whole", *overrides), plan("cut", *overrides)
    train_stage(whole, LocalWorker(torch.device("cpu")))
    with pytest.raises(ConnectionError):
        train_stage(cut, DyingWorker(step))
    assert not (cut.run.stage("clean") / "stage.json").exists()
    train_stage(cut, LocalWorker(torch.device("cpu")))
    ours, theirs = final(cut), final(whole)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    logs = [(p.run.stage("clean") / "log.jsonl").read_text().splitlines() for p in (whole, cut)]
    losses = [{line["step"]: line["loss"] for line in map(json.loads, log) if "loss" in line} for log in logs]
    assert losses[0] == losses[1]


CURRICULUM = """[
    {one_of: [{use: downscale, factor: 3, weight: {0: 1, 1: 0}}, {use: scale_mix, schedule: {0: {2: 1}, 1: {4: 1}}}]},
    {any_order: [{use: blur, sigma: [0, 2]}, {use: noise, sigma: 20}], p: {0: 0, 0.5: 1}},
    {use: random_flip, from: 0.5}]"""


def losses_of(plan: StagePlan) -> list[float]:
    lines = map(json.loads, (plan.run.stage("clean") / "log.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def test_a_curriculum_is_a_function_of_the_step_also_after_a_resume(plan) -> None:
    overrides = ("stages.clean.steps=6", "stages.clean.log_every=1", f"stages.clean.degrade={CURRICULUM}")
    whole, cut = plan("whole", *overrides), plan("cut", *overrides)
    train_stage(whole, LocalWorker(torch.device("cpu")))
    with pytest.raises(ConnectionError):
        train_stage(cut, DyingWorker(4))
    train_stage(cut, LocalWorker(torch.device("cpu")))
    ours, theirs = final(cut), final(whole)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_an_entry_starts_at_its_fraction_of_the_steps(plan) -> None:
    steps = ("stages.clean.steps=4", "stages.clean.log_every=1")
    clean = plan("clean", *steps)
    late = plan("late", *steps, "stages.clean.degrade=[{use: downscale, factor: 8, from: 0.5}]")
    for each in (clean, late):
        train_stage(each, LocalWorker(torch.device("cpu")))
    one, other = losses_of(clean), losses_of(late)
    assert one[:2] == other[:2]
    assert one[2] != other[2]
    assert json.loads((late.run.stage("clean") / "stage.json").read_text())["degrade"] == [
        {"use": "corruptions/downscale", "factor": 8, "from": 0.5}
    ]


def test_an_incomplete_log_line_of_a_killed_run_is_deleted(plan) -> None:
    cut = plan("cut")
    with pytest.raises(ConnectionError):
        train_stage(cut, DyingWorker(2))
    log = cut.run.stage("clean") / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 4, "lo')
    train_stage(cut, LocalWorker(torch.device("cpu")))
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [2, 4]


def test_another_degradation_gives_other_weights(plan) -> None:
    clean, degraded = plan("a"), plan("b", "stages.clean.degrade=[{use: downscale, factor: 8}]")
    for each in (clean, degraded):
        train_stage(each, LocalWorker(torch.device("cpu")))
    assert not np.array_equal(final(clean)["backbone.conv1.weight"], final(degraded)["backbone.conv1.weight"])


def test_the_largest_seed_trains_and_a_larger_seed_is_an_error(plan, repository: Path) -> None:
    largest = plan("largest", f"seed={2**31 - 1}")
    train_stage(largest, LocalWorker(torch.device("cpu")))
    assert np.isfinite(final(largest)["backbone.conv1.weight"]).all()
    with pytest.raises(JobError, match="seed: Input should be less than 2147483648"):
        read_job(repository / "jobs" / "vlqr.yaml", overrides=[f"seed={2**31}"])
