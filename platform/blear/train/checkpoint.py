"""Checkpoints: safetensors weights, optimizer state, and where the run is. Any number of workers restores them."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn
from torch.optim.swa_utils import AveragedModel

from blear.errors import RunError

_FAILURES = (OSError, RuntimeError, SafetensorError)


@dataclass
class Position:
    """Where a run is.

    Attributes:
        step: optimizer steps done.
        best, best_step: the best validation so far and its step; None before the first one.
        worse: validations since then.
    """

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    worse: int = 0


@dataclass
class Trained:
    """What a checkpoint holds beside the position; `average` is the moving average of the weights, if there is one."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None = None


def list_steps(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(p for p in folder.glob("step-*") if (p / "state.json").is_file())


def path_of(folder: Path, step: int) -> Path:
    """Folder of the checkpoint of a step."""
    return folder / f"step-{step:08d}"


def weights_in(checkpoint: Path) -> Path:
    """The weights to use: the average's if there is one."""
    average = checkpoint / "average.safetensors"
    return average if average.is_file() else checkpoint / "model.safetensors"


def restore(folder: Path, trained: Trained) -> Position:
    """Loads the newest checkpoint, if any; the position is step 0 when there is none.

    Raises:
        RunError: the checkpoint does not fit this model or is damaged.
    """
    steps = list_steps(folder)
    if not steps:
        return Position()
    newest = steps[-1]
    try:
        load_model(trained.model, str(newest / "model.safetensors"))
        state = torch.load(newest / "optimizer.pt", map_location="cpu", weights_only=True)
        trained.optimizer.load_state_dict(state)
        position = Position(**json.loads((newest / "state.json").read_text()))
        if trained.average is not None:
            load_model(trained.average.module, str(newest / "average.safetensors"))
            trained.average.n_averaged.fill_(position.step)
        return position
    except (*_FAILURES, ValueError, TypeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        do = "delete this folder: the run continues from the checkpoint before it, or from the start"
        raise RunError(f"the checkpoint cannot be restored: {_reason(error)}", str(newest), do) from error


class CheckpointWriter:
    """Writes checkpoints in a background thread, each at once or not at all; keeps the newest and the best one.

    A checkpoint is a copy taken in `save`, so training goes on meanwhile. A second `save` waits for the first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="blear-checkpoint")
        self._writing: Future[None] | None = None
        for left in folder.glob(".step-*"):  # of a run that was killed
            shutil.rmtree(left, ignore_errors=True)

    def save(self, position: Position, trained: Trained) -> None:
        """Takes a copy and hands it to the thread.

        Raises:
            RunError: the checkpoint before this one could not be written.
        """
        self.wait()
        model = copy.deepcopy(trained.model).cpu()
        average = None if trained.average is None else copy.deepcopy(trained.average.module).cpu()
        state = _on_cpu(trained.optimizer.state_dict())
        self._writing = self._pool.submit(_write, self.folder, Position(**asdict(position)), model, average, state)

    def wait(self) -> None:
        """Until everything is on disk.

        Raises:
            RunError: it could not be written; the checkpoint before it is still there.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def close(self) -> None:
        """Ends the thread; what is being written is finished."""
        self._pool.shutdown(wait=True)


def _write(folder: Path, position: Position, model: nn.Module, average: nn.Module | None, optimizer: Any) -> None:
    target = path_of(folder, position.step)
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_model(model, str(partial / "model.safetensors"))
        if average is not None:
            save_model(average, str(partial / "average.safetensors"))
        torch.save(optimizer, partial / "optimizer.pt")
        (partial / "state.json").write_text(json.dumps(asdict(position)))
        for file in (*partial.iterdir(), partial):
            _to_disk(file)
        _remove(target)
        partial.rename(target)
        _to_disk(folder)
    except _FAILURES as error:
        left = list_steps(folder)
        kept = left[-1].name if left else "the start"
        what = f"the checkpoint of step {position.step} cannot be written: {_reason(error)}"
        do = f"make room or mend it, then give the same command: it continues from {kept}"
        raise RunError(what, str(folder), do) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for other in list_steps(folder):
        if other not in (target, path_of(folder, -1 if position.best_step is None else position.best_step)):
            _remove(other)


def _remove(checkpoint: Path) -> None:
    """Takes the name away first, so that half a checkpoint is never found."""
    if checkpoint.is_dir():
        dead = checkpoint.with_name(f".{checkpoint.name}.old")
        checkpoint.rename(dead)
        shutil.rmtree(dead, ignore_errors=True)


def _to_disk(path: Path) -> None:
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


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
