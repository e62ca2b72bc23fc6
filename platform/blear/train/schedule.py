"""The learning rate at each step: pure functions of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from blear.job.schema import Optimizer

_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_START = 25.0
_ONE_CYCLE_END = 1e4


def rate(spec: Optimizer, step: int, steps: int) -> float:
    """Base learning rate of a step.

    Args:
        step: 0-based.
        steps: of the whole stage.

    `step` is `StepLR` (Caffe's "step" policy), `cosine` is `CosineAnnealingLR` down to 0 (Loshchilov & Hutter 2017),
    both over the steps after the warm-up; `one_cycle` is `OneCycleLR` with PyTorch's defaults (Smith & Topin 2018)
    but for the momentum, which stays.
    """
    if step < spec.warmup:
        return spec.lr * (step + 1) / spec.warmup
    step, steps = step - spec.warmup, max(steps - spec.warmup, 1)
    if spec.schedule == "step" and spec.drop_every is not None:
        return spec.lr * float(spec.drop_by ** (step // spec.drop_every))
    if spec.schedule == "cosine":
        return _cosine(spec.lr, 0.0, step / steps)
    if spec.schedule == "one_cycle":
        return _one_cycle(spec.lr, step, steps)
    return spec.lr


def _one_cycle(highest: float, step: int, steps: int) -> float:
    lowest = highest / _ONE_CYCLE_START
    top, last = _ONE_CYCLE_RISE * steps - 1, steps - 1
    if step <= top:
        return _cosine(lowest, highest, step / top if top > 0 else 1.0)
    return _cosine(highest, lowest / _ONE_CYCLE_END, (step - top) / (last - top))


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * part))
