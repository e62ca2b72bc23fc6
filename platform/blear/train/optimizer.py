"""The optimizer of a stage: parameter groups with learning-rate multipliers and without decay."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from blear.errors import JobError
from blear.job.schema import Optimizer


def multipliers(model: nn.Module, scale_lr: dict[str, float]) -> dict[str, float]:
    """Full parameter name -> learning-rate multiplier; the first pattern that matches counts.

    Raises:
        JobError: a pattern matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    _require_matches("scale_lr", list(scale_lr), names)
    return {name: next((value for p, value in scale_lr.items() if _matches(name, p)), 1.0) for name in names}


def undecayed(model: nn.Module, no_decay: Sequence[str]) -> set[str]:
    """Full names of the parameters that some pattern matches.

    Raises:
        JobError: a pattern matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    _require_matches("no_decay", no_decay, names)
    return {name for name in names if any(_matches(name, pattern) for pattern in no_decay)}


def build_optimizer(model: nn.Module, spec: Optimizer) -> torch.optim.Optimizer:
    """One group for each pair of multiplier and decay; parameters with multiplier 0 are frozen and left out.

    PyTorch's momentum equals Caffe's while the rate is fixed; decay acts on weights and biases alike, as in Caffe,
    but for those of `no_decay`.

    Raises:
        JobError: a pattern matches no parameter, or every parameter is frozen.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    scale, spared = multipliers(model, spec.scale_lr), undecayed(model, spec.no_decay)
    for name, parameter in model.named_parameters():
        if scale[name] == 0:
            parameter.requires_grad_(False)
        else:
            groups[scale[name], 0.0 if name in spared else spec.weight_decay].append(parameter)
    if not groups:
        raise JobError("scale_lr freezes every parameter", do="leave at least one multiplier above 0")
    described = [
        {"params": parameters, "lr": spec.lr * value, "scale": value, "weight_decay": decay}
        for (value, decay), parameters in groups.items()
    ]
    if spec.use == "adam":
        return torch.optim.Adam(described, lr=spec.lr, betas=spec.betas, amsgrad=spec.amsgrad)
    if spec.use == "adamw":
        return torch.optim.AdamW(described, lr=spec.lr, betas=spec.betas, amsgrad=spec.amsgrad)
    return torch.optim.SGD(described, lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov)


def set_rate(optimizer: torch.optim.Optimizer, base: float) -> None:
    """Sets each group's rate to its multiple of the base rate."""
    for group in optimizer.param_groups:
        group["lr"] = base * group["scale"]


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """2-norm of all gradients together, on their device."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def _matches(name: str, pattern: str) -> bool:
    """Whether a pattern is that of a parameter's name, with or without `backbone.` or `head.`."""
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.split(".", 1)[1], pattern)


def _require_matches(key: str, patterns: Sequence[str], names: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in names):
            known = ", ".join(name.split(".", 1)[1] for name in names)
            raise JobError(f"{key}: {pattern!r} matches no parameter", do=f"parameters: {known}")
