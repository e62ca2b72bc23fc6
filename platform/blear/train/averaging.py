"""Averages of the weights: exponential (EMA), or equal over the last steps (SWA, Izmailov et al., UAI 2018)."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from blear.job.schema import Stage


def build_average(model: nn.Module, stage: Stage) -> AveragedModel | None:
    """Returns the average that a stage asks for, equal to the model; None without one.

    Buffers, such as the statistics of a batch normalisation, are averaged like weights.
    """
    if stage.ema is not None:
        return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(stage.ema), use_buffers=True)
    if stage.swa is not None:
        return AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn(), use_buffers=True)
    return None


def first_averaged_step(stage: Stage) -> int:
    """Number of the first step whose weights belong to the average, from 0; until then the average is the model."""
    return 0 if stage.swa is None else min(int(stage.swa * stage.steps), stage.steps - 1)


def update_average(average: AveragedModel, model: nn.Module, stage: Stage, step: int) -> None:
    """Adds the weights after step `step` (from 0) to the average."""
    if step <= first_averaged_step(stage):
        average.n_averaged.zero_()  # the next update copies the model
    average.update_parameters(model)
