"""`cluster.precision: auto`: chosen once for a run by the devices of all workers, recorded, and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from blear.errors import RunError
from blear.train import precision
from blear.train.checkpoint import TrainerState, list_checkpoints
from blear.train.loop import train_stage
from blear.train.precision import choose_precision, prefers_bfloat16, recorded_precisions
from blear.train.worker import LocalWorker

CPU = torch.device("cpu")
AUTO = ("cluster.precision=auto", "stages.clean.steps=6", "stages.clean.checkpoint_every=2")


class Two(LocalWorker):
    """Gathers the values of another worker, whose GPU has no bfloat16, beside its own."""

    def all_gather(self, value: Any) -> list[Any]:
        return [value, (None, False)]


class Preempted(LocalWorker):
    """Ends the run after a step, with a checkpoint."""

    def should_checkpoint(self, step: int) -> bool:
        return step == 3


def native(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    """Treats the CPU as a GPU that has instructions for bfloat16, or has none."""
    monkeypatch.setattr(precision, "prefers_bfloat16", lambda device: has)


def stage_json(plan) -> Path:
    return plan.run.stage("clean") / "stage.json"


def test_auto_asks_the_device_of_every_worker(plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards that emulate bfloat16 do not count."""
    seen = []
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: seen.append(including_emulation)
    )
    prefers_bfloat16(torch.device("cuda"))
    assert seen == [False]
    assert not prefers_bfloat16(CPU)  # gradients of some convolutions are wrong there
    job = plan("auto", *AUTO)
    for has in (True, False):
        native(monkeypatch, has)
        assert choose_precision(job, LocalWorker(CPU), TrainerState()) == ("bfloat16" if has else "float32")
        assert choose_precision(job, Two(CPU), TrainerState()) == "float32"
        for given in ("float32", "bfloat16"):
            fixed = plan("fixed", f"cluster.precision={given}")
            assert choose_precision(fixed, Two(CPU), TrainerState()) == given


@pytest.mark.parametrize("has", [True, False])
def test_a_continued_run_keeps_its_precision_on_another_machine(
    plan, monkeypatch: pytest.MonkeyPatch, has: bool
) -> None:
    native(monkeypatch, has)
    whole, cut = plan("whole", *AUTO), plan("cut", *AUTO)
    train_stage(whole, LocalWorker(CPU))
    with pytest.raises(RunError, match="stopped by SIGTERM at step 3"):
        train_stage(cut, Preempted(CPU))
    native(monkeypatch, not has)
    train_stage(cut, LocalWorker(CPU))
    assert cut.run.weights("clean").read_bytes() == whole.run.weights("clean").read_bytes()
    chosen = "bfloat16" if has else "float32"
    assert recorded_precisions(cut.run, cut.job.stages) == {"clean": chosen}
    assert choose_precision(cut, LocalWorker(CPU), TrainerState()) == chosen  # of the next stage


def test_a_run_of_an_earlier_version_continues_in_float32_on_a_cpu(plan, monkeypatch: pytest.MonkeyPatch) -> None:
    native(monkeypatch, True)
    old = plan("old", *AUTO)
    assert choose_precision(old, LocalWorker(CPU), TrainerState(step=2)) == "float32"
    train_stage(old, LocalWorker(CPU))
    facts = json.loads(stage_json(old).read_text())
    assert facts.pop("precision") == "bfloat16"
    stage_json(old).write_text(json.dumps(facts))
    assert choose_precision(old, LocalWorker(CPU), TrainerState()) == "float32"
    newest = list_checkpoints(old.run.stage("clean") / "checkpoints")[-1] / "state.json"
    values = json.loads(newest.read_text())
    assert values.pop("precision") == "bfloat16"
    assert TrainerState.from_json(json.dumps(values)).precision is None


def test_the_choice_is_the_type_of_the_arithmetic(plan, monkeypatch: pytest.MonkeyPatch) -> None:
    native(monkeypatch, True)
    used = []
    real = precision.autocast
    for module in ("setup", "step"):
        monkeypatch.setattr(
            f"blear.train.{module}.autocast", lambda name, device: used.append(name) or real(name, device)
        )
    train_stage(plan("auto", *AUTO), LocalWorker(CPU))
    assert set(used) == {"bfloat16"}
