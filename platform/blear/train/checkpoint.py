"""Checkpoints: weights (safetensors), optimizer state, trainer state. Any number of workers can restore them."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from blear.errors import RunError, first_line
from blear.train.state_copy import load_state, save_state, state_on_cpu

_FAILURES = (OSError, RuntimeError, SafetensorError)


@dataclass
class TrainerState:
    """Progress of a stage.

    Attributes:
        step: finished optimizer steps.
        best: value of the best validation so far; None before the first one.
        best_step: its step.
        not_improved: number of validations since the best one.
        precision: of the stage's arithmetic; None in a checkpoint of an earlier version.
    """

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    not_improved: int = 0
    precision: str | None = None

    def to_json(self) -> str:
        """The content of state.json."""
        values = asdict(self)
        values["worse"] = values.pop("not_improved")
        return json.dumps(values)

    @staticmethod
    def from_json(text: str) -> TrainerState:
        """Reads state.json.

        Raises:
            ValueError, TypeError, KeyError: the file is damaged.
        """
        values = json.loads(text)
        return TrainerState(not_improved=values.pop("worse"), **values)


@dataclass
class TrainedModules:
    """The objects whose state a checkpoint holds.

    Attributes:
        average: average of the weights (EMA or SWA), if the stage has one.
        first_averaged: number of the first step whose weights belong to the average.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None = None
    first_averaged: int = 0


def list_checkpoints(folder: Path) -> list[Path]:
    """Folders of the complete checkpoints in `folder`, oldest first."""
    return sorted(p for p in folder.glob("step-*") if (p / "state.json").is_file())


def checkpoint_path(folder: Path, step: int) -> Path:
    """Folder of the checkpoint of a step."""
    return folder / f"step-{step:08d}"


def checkpoint_weights(checkpoint: Path) -> Path:
    """The file of weights for evaluation: the moving average if there is one."""
    average = checkpoint / "average.safetensors"
    return average if average.is_file() else checkpoint / "model.safetensors"


def restore_checkpoint(folder: Path, modules: TrainedModules) -> TrainerState:
    """Loads the newest checkpoint; returns a new state (step 0) if there is none.

    Raises:
        RunError: the checkpoint is damaged, or belongs to another model.
    """
    steps = list_checkpoints(folder)
    if not steps:
        return TrainerState()
    newest = steps[-1]
    try:
        load_state(modules.model, newest / "model.safetensors")
        optimizer = torch.load(newest / "optimizer.pt", map_location="cpu", weights_only=True)
        modules.optimizer.load_state_dict(optimizer)
        state = TrainerState.from_json((newest / "state.json").read_text())
        if modules.average is not None:
            load_state(modules.average.module, newest / "average.safetensors")
            modules.average.n_averaged.fill_(max(0, state.step - modules.first_averaged))
        return state
    except (*_FAILURES, ValueError, TypeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        do = "delete this folder: the run continues from the checkpoint before it, or from the start"
        raise RunError(f"the checkpoint cannot be restored: {first_line(error)}", str(newest), do) from error


class CheckpointWriter:
    """Writes checkpoints atomically in a background thread; keeps the newest and the best one.

    `save` copies the state, so that training goes on during the write. A second `save` waits for the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="blear-checkpoint")
        self._writing: Future[None] | None = None
        for partial in folder.glob(".step-*"):  # of a process that was killed
            shutil.rmtree(partial, ignore_errors=True)

    def save(self, state: TrainerState, modules: TrainedModules) -> None:
        """Copies the state and starts to write it.

        Raises:
            RunError: the previous checkpoint could not be written.
        """
        self.wait()
        model = state_on_cpu(modules.model)
        average = None if modules.average is None else state_on_cpu(modules.average.module)
        optimizer = _on_cpu(modules.optimizer.state_dict())
        self._writing = self._pool.submit(_write, self.folder, replace(state), model, average, optimizer)

    def wait(self) -> None:
        """Blocks until the last checkpoint is on disk.

        Raises:
            RunError: it could not be written; the previous checkpoint is still complete.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def close(self) -> None:
        """Finishes the current write and ends the thread."""
        self._pool.shutdown(wait=True)


def _write(
    folder: Path, state: TrainerState, model: dict[str, Tensor], average: dict[str, Tensor] | None, optimizer: Any
) -> None:
    target = checkpoint_path(folder, state.step)
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_state(model, partial / "model.safetensors")
        if average is not None:
            save_state(average, partial / "average.safetensors")
        torch.save(optimizer, partial / "optimizer.pt")
        (partial / "state.json").write_text(state.to_json())
        for file in (*partial.iterdir(), partial):
            _fsync(file)
        _remove(target)
        partial.rename(target)
        _fsync(folder)
    except _FAILURES as error:
        complete = list_checkpoints(folder)
        newest = complete[-1].name if complete else "the start"
        what = f"the checkpoint of step {state.step} cannot be written: {first_line(error)}"
        do = f"free disk space or fix the storage, then give the same command: it continues from {newest}"
        raise RunError(what, str(folder), do) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for other in list_checkpoints(folder):
        if other not in (target, checkpoint_path(folder, -1 if state.best_step is None else state.best_step)):
            _remove(other)


def _remove(checkpoint: Path) -> None:
    """Renames the folder before it is deleted, so that no reader finds an incomplete checkpoint."""
    if checkpoint.is_dir():
        renamed = checkpoint.with_name(f".{checkpoint.name}.old")
        checkpoint.rename(renamed)
        shutil.rmtree(renamed, ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _on_cpu(state: Any) -> Any:
    """A copy of an optimizer's state in CPU memory."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: _on_cpu(value) for key, value in state.items()}
    return [_on_cpu(value) for value in state] if isinstance(state, list) else state
