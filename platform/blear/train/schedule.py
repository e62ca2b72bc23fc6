"""Learning rate schedules, as pure functions of the step: a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from blear.job.schema import Optimizer
from blear.plugin.uses import schedule_value

_ONE_CYCLE_START = 25.0
_ONE_CYCLE_END = 1e4


def learning_rate(spec: Optimizer, step: int, steps: int) -> float:
    """Base learning rate of a step.

    A mapping of fractions to factors of `lr` is interpolated linearly. `step` equals `StepLR` (Caffe's "step" policy),
    with `drop_at` `MultiStepLR` (Caffe's "multistep" policy),
    and `cosine` equals `CosineAnnealingLR` down to 0 (Loshchilov & Hutter 2017). All three act on the steps after the
    warm-up. `one_cycle` equals `OneCycleLR` with `pct_start` = `rise`, PyTorch's other defaults and constant momentum
    (Smith & Topin 2018).

    Args:
        spec: the stage's `optimizer` section.
        step: number of the step, from 0.
        steps: number of steps of the stage.
    """
    if step < spec.warmup:
        return spec.lr * (step + 1) / spec.warmup
    step, steps = step - spec.warmup, max(steps - spec.warmup, 1)
    if spec.schedule == "step" and spec.drop_every is not None:
        return spec.lr * float(spec.drop_by ** (step // spec.drop_every))
    if spec.schedule == "step" and spec.drop_at is not None:
        return spec.lr * float(spec.drop_by ** sum(step >= drop for drop in spec.drop_at))
    if spec.schedule == "cosine":
        return _cosine(spec.lr, 0.0, step / steps)
    if spec.schedule == "one_cycle":
        return _one_cycle(spec.lr, step, steps, spec.rise)
    if not isinstance(spec.schedule, str):
        return spec.lr * schedule_value(spec.schedule, step / max(steps - 1, 1))
    return spec.lr


def _one_cycle(peak: float, step: int, steps: int, rise: float) -> float:
    lowest = peak / _ONE_CYCLE_START
    peak_step, last = rise * steps - 1, steps - 1
    if step <= peak_step:
        return _cosine(lowest, peak, step / peak_step if peak_step > 0 else 1.0)
    return _cosine(peak, lowest / _ONE_CYCLE_END, (step - peak_step) / (last - peak_step))


def _cosine(start: float, end: float, fraction: float) -> float:
    """Half a cosine wave from `start` (fraction 0) to `end` (fraction 1)."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * fraction))
