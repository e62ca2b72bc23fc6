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

_NATIVE_ON_CPU = ("avx512_bf16", "amx_bf16")


def native_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16. Cards and CPUs that emulate it are slower than with float32.

    docs/benchmarks.md has the measurements: 1.3 to 1.5 times as fast with the instructions on a CPU, up to 3 times with
    channels-last weights, half as fast without.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(bool(known.get(name)) for name in _NATIVE_ON_CPU)


def choose_precision(plan: StagePlan, worker: Worker, state: TrainerState) -> str:
    """Returns the precision of a stage, "float32" or "bfloat16". All workers call it, and all get the same.

    `auto` is the precision that the run has recorded, so that a run does not change it on another machine: in the
    checkpoint that the stage continues from, else in the finished stages. A new run chooses bfloat16 if the device of
    every worker has instructions for it, else float32.

    Args:
        state: of the checkpoint that the stage continues from.
    """
    asked = plan.job.cluster.precision
    if asked != "auto":
        return asked
    recorded = _recorded(plan, state, worker.device) if worker.rank == 0 else None
    of_workers = worker.all_gather((recorded, native_bfloat16(worker.device)))
    return of_workers[0][0] or ("bfloat16" if all(native for _, native in of_workers) else "float32")


def recorded_precisions(run: RunFolder, stages: Iterable[str]) -> dict[str, str | None]:
    """Returns stage -> precision of the finished stages; None for a stage that was trained before it was recorded."""
    files = {name: run.stage(name) / "stage.json" for name in stages}
    return {name: json.loads(file.read_text()).get("precision") for name, file in files.items() if file.is_file()}


def _recorded(plan: StagePlan, state: TrainerState, device: torch.device) -> str | None:
    """Returns the precision that a run has recorded; None for a new run."""
    earlier = "bfloat16" if device.type == "cuda" else "float32"  # `auto` before it was recorded
    if state.step:
        return state.precision or earlier
    return next((precision or earlier for precision in recorded_precisions(plan.run, plan.job.stages).values()), None)


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Returns the autocast context of a precision, as `choose_precision` returns it."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()
