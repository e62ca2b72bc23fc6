"""The optimizer of a stage: parameter groups with learning-rate multipliers."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

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
    """SGD or AdamW with one group for each multiplier; parameters with multiplier 0 are frozen and left out.

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
    described = [{"params": parameters, "lr": spec.lr * value, "scale": value} for value, parameters in groups.items()]
    if spec.use == "adamw":
        return torch.optim.AdamW(described, lr=spec.lr, betas=spec.betas, weight_decay=spec.weight_decay)
    return torch.optim.SGD(described, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, base: float) -> None:
    """Sets each group's rate to its multiple of the base rate."""
    for group in optimizer.param_groups:
        group["lr"] = base * group["scale"]


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """2-norm of all gradients together, on their device."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
