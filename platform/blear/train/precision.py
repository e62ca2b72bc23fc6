"""The precision of a model's arithmetic: which type `cluster.precision: auto` is in a run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable

import torch

from blear.storage.run_folder import RunFolder
from blear.train.checkpoint import TrainerState
from blear.train.plan import StagePlan
from blear.train.worker import Worker


def prefers_bfloat16(device: torch.device) -> bool:
    """Whether `auto` is bfloat16 on a device: on a GPU with instructions for it. Emulation is slower than float32.

    Never on a CPU, although CPUs with `avx512_bf16` train up to 3 times as fast: with torch 2.14, gradients of some
    convolutions are wrong there (docs/benchmarks.md, "Options of the trainer").
    """
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def choose_precision(plan: StagePlan, worker: Worker, state: TrainerState) -> str:
    """Returns the precision of a stage, "float32" or "bfloat16". All workers call it, and all get the same.

    `auto` is the precision that the run has recorded, so that a run does not change it on another machine: in the
    checkpoint that the stage continues from, else in the finished stages. A new run chooses bfloat16 if every
    worker has a GPU with instructions for it, else float32.

    Args:
        state: of the checkpoint that the stage continues from.
    """
    asked = plan.job.cluster.precision
    if asked != "auto":
        return asked
    recorded = _recorded(plan, state, worker.device) if worker.rank == 0 else None
    of_workers = worker.all_gather((recorded, prefers_bfloat16(worker.device)))
    return of_workers[0][0] or ("bfloat16" if all(preferred for _, preferred in of_workers) else "float32")


def recorded_precisions(run: RunFolder, stages: Iterable[str]) -> dict[str, str | None]:
    """Returns stage -> precision of the finished stages, without those that were only loaded.

    None for a stage that was trained before it was recorded.
    """
    files = {name: run.stage(name) / "stage.json" for name in stages}
    found = {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}
    return {name: stage.get("precision") for name, stage in found.items() if stage.get("steps", 1)}


def _recorded(plan: StagePlan, state: TrainerState, device: torch.device) -> str | None:
    """Returns the precision that a run has recorded; None for a new run."""
    earlier = "bfloat16" if device.type == "cuda" else "float32"  # `auto` before it was recorded
    if state.step:
        return state.precision or earlier
    return next((precision or earlier for precision in recorded_precisions(plan.run, plan.job.stages).values()), None)


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Returns the autocast context of a precision, as `choose_precision` returns it."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()
