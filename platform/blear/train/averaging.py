"""Averages of the weights: exponential (EMA), or equal over the last steps (SWA, Izmailov et al., UAI 2018)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from blear.job.schema import Stage


def build_average(model: nn.Module, stage: Stage) -> AveragedModel | None:
    """Returns the average that a stage asks for, equal to the model; None without one.

    Buffers, such as the statistics of a batch normalisation, are averaged like weights; integers, such as counters and
    indices, are those of the model.
    """
    if stage.ema is not None:
        return AveragedModel(model, multi_avg_fn=_of_floats(get_ema_multi_avg_fn(stage.ema)), use_buffers=True)
    if stage.swa is not None:
        return AveragedModel(model, multi_avg_fn=_of_floats(get_swa_multi_avg_fn()), use_buffers=True)
    return None


def first_averaged_step(stage: Stage) -> int:
    """Number of the first step whose weights belong to the average, from 0; until then the average is the model."""
    return 0 if stage.swa is None else min(int(stage.swa * stage.steps), stage.steps - 1)


def update_average(average: AveragedModel, model: nn.Module, stage: Stage, step: int) -> None:
    """Adds the weights after step `step` (from 0) to the average."""
    if step <= first_averaged_step(stage):
        average.n_averaged.zero_()  # the next update copies the model
    average.update_parameters(model)


def _of_floats(average: Callable[..., Any]) -> Callable[[Any, Any, Any], None]:
    """`average` for floats; other tensors are copied: torch truncates their EMA, and refuses their SWA."""

    def update(averaged: list[Tensor], current: list[Tensor], count: Any) -> None:  # all of one type
        if averaged[0].is_floating_point() or averaged[0].is_complex():
            average(averaged, current, count)
            return
        for old, new in zip(averaged, current, strict=True):
            old.copy_(new)

    return update
