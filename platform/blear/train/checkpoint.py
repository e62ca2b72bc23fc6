"""Checkpoints: safetensors weights, optimizer state, one integer (the step). Any number of workers restores them."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from blear.errors import RunError


def save(folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> Path:
    """Writes `folder/step-NNNNNNNN` at once or not at all, then removes the checkpoints before it."""
    target = folder / f"step-{step:08d}"
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_model(model, str(partial / "model.safetensors"))
    torch.save(optimizer.state_dict(), partial / "optimizer.pt")
    (partial / "state.json").write_text(json.dumps({"step": step}))
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    for other in list_steps(folder):
        if other != target:
            shutil.rmtree(other)
    return target


def list_steps(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(p for p in folder.glob("step-*") if (p / "state.json").is_file())


def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Loads the newest checkpoint, if any, and returns its step (0 when there is none).

    Raises:
        RunError: the checkpoint does not fit this model or is damaged.
    """
    steps = list_steps(folder)
    if not steps:
        return 0
    newest = steps[-1]
    try:
        load_model(model, str(newest / "model.safetensors"))
        optimizer.load_state_dict(torch.load(newest / "optimizer.pt", map_location="cpu", weights_only=True))
        return int(json.loads((newest / "state.json").read_text())["step"])
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"the checkpoint cannot be restored: {reason}", str(newest), "delete this folder") from error
