"""The optimizer of a stage: parameter groups with learning-rate multipliers, and the rate at each step."""

from __future__ import annotations

import fnmatch
import math
from collections import defaultdict

import torch
from torch import nn

from blear.errors import JobError
from blear.job import Optimizer


def multipliers(model: nn.Module, scale_lr: dict[str, float]) -> dict[str, float]:
    """Full parameter name -> learning-rate multiplier. A pattern matches the name with or without `backbone.`/`head.`.

    Raises:
        JobError: a pattern matches no parameter.
    """
    found, used = {}, set()
    for name, _ in model.named_parameters():
        found[name] = 1.0
        for pattern, value in scale_lr.items():
            if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.split(".", 1)[1], pattern):
                found[name] = value
                used.add(pattern)
                break
    unused = [
        pattern
        for pattern in scale_lr
        if pattern not in used and not any(fnmatch.fnmatchcase(n.split(".", 1)[1], pattern) for n in found)
    ]
    if unused:
        names = ", ".join(name.split(".", 1)[1] for name in found)
        raise JobError(f"scale_lr: {unused[0]!r} matches no parameter", do=f"parameters: {names}")
    return found


def build_optimizer(model: nn.Module, spec: Optimizer) -> torch.optim.Optimizer:
    """SGD with one group for each multiplier; parameters with multiplier 0 are frozen and left out.

    PyTorch's momentum equals Caffe's while the rate is fixed; decay acts on weights and biases alike, as in Caffe.
    """
    groups: dict[float, list[nn.Parameter]] = defaultdict(list)
    scale = multipliers(model, spec.scale_lr)
    for name, parameter in model.named_parameters():
        if scale[name] == 0:
            parameter.requires_grad_(False)
        else:
            groups[scale[name]].append(parameter)
    if not groups:
        raise JobError("scale_lr freezes every parameter", do="leave at least one multiplier above 0")
    return torch.optim.SGD(
        [{"params": parameters, "lr": spec.lr * value, "scale": value} for value, parameters in groups.items()],
        lr=spec.lr,
        momentum=spec.momentum,
        weight_decay=spec.weight_decay,
    )


def set_rate(optimizer: torch.optim.Optimizer, spec: Optimizer, step: int, steps: int) -> float:
    """Sets each group's rate for a step (0-based) and returns the base rate; a pure function of the step."""
    factor = 1.0 if spec.schedule == "fixed" else 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimizer.param_groups:
        group["lr"] = spec.lr * group["scale"] * factor
    return spec.lr * factor
