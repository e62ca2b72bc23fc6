"""Speed of a training step with channels_last, bfloat16 and torch.compile, on this CPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import torch
from measuring import Row, interleaved, rate_rows, threads
from networks import cnn5x5, resnet18, step_of
from torch import nn


def measure() -> list[Row]:
    """Measures each network with two threads; torch.compile only if there is a C++ compiler."""
    rows: list[Row] = []
    cases = (
        ("CNN+D x 0.25, 128 x 48 px, 2 threads, ", lambda: cnn5x5(0.25, 48), 128, 48),
        ("ResNet-18, 16 x 96 px, 2 threads, ", resnet18, 16, 96),
    )
    with threads(2):
        for prefix, make, batch, size in cases:
            frames, targets = torch.rand(batch, 1, 1, size, size), torch.rand(batch)
            arms = {name: _bind(step, frames, targets) for name, step in _steps(make).items()}
            rows += rate_rows(interleaved(arms, repeats=9), 1, "steps/s", "float32", prefix)
    return rows


def _steps(make: Callable[[], nn.Module]) -> dict[str, Callable[[torch.Tensor, torch.Tensor], object]]:
    channels_last = make().to(memory_format=torch.channels_last)
    channels_last_bfloat16 = make().to(memory_format=torch.channels_last)
    steps = {
        "float32": step_of(make()),
        "channels_last": step_of(channels_last),
        "bfloat16": step_of(make(), torch.bfloat16),
        "bfloat16, channels_last": step_of(channels_last_bfloat16, torch.bfloat16),
    }
    if shutil.which("g++") or shutil.which("clang++"):
        compiled = make()
        steps["compiled"] = step_of(compiled, forward=torch.compile(compiled))
    return steps


def _bind(
    step: Callable[[torch.Tensor, torch.Tensor], object], frames: torch.Tensor, targets: torch.Tensor
) -> Callable[[], object]:
    return lambda: step(frames, targets)
