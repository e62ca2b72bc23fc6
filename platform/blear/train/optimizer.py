"""The optimizer of a stage: parameter groups by learning-rate multiplier and weight decay."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from blear.errors import JobError
from blear.job.schema import Optimizer
from blear.train.eager_optimizer import eager


def lr_multipliers(model: nn.Module, scale_lr: dict[str, float]) -> dict[str, float]:
    """Maps full parameter names to learning-rate multipliers; the first matching pattern counts.

    Raises:
        JobError: a pattern matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    _require_matches("scale_lr", list(scale_lr), names)
    return {name: next((value for p, value in scale_lr.items() if _matches(name, p)), 1.0) for name in names}


def no_decay_parameters(model: nn.Module, no_decay: Sequence[str]) -> set[str]:
    """Full names of the parameters that at least one pattern of `no_decay` matches.

    Raises:
        JobError: a pattern matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    _require_matches("no_decay", no_decay, names)
    return {name for name in names if any(_matches(name, pattern) for pattern in no_decay)}


def build_optimizer(model: nn.Module, spec: Optimizer) -> torch.optim.Optimizer:
    """Builds the optimizer, with one parameter group for each pair of multiplier and weight decay.

    Parameters with multiplier 0 are frozen and belong to no group. Weight decay applies to weights and biases, as in
    Caffe, except the parameters of `no_decay`, and those of one dimension if `decay_vectors` is false. PyTorch's
    momentum equals Caffe's while the learning rate is constant.

    Raises:
        JobError: a pattern matches no parameter, or every parameter is frozen.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    scale, without_decay = lr_multipliers(model, spec.scale_lr), no_decay_parameters(model, spec.no_decay)
    for name, parameter in model.named_parameters():
        if scale[name] == 0:
            parameter.requires_grad_(False)
        else:
            spared = name in without_decay or (parameter.ndim < 2 and not spec.decay_vectors)
            groups[scale[name], 0.0 if spared else spec.weight_decay].append(parameter)
    if not groups:
        raise JobError("scale_lr freezes every parameter", do="leave at least one multiplier above 0")
    param_groups = [
        {"params": parameters, "lr": spec.lr * value, "scale": value, "weight_decay": decay}
        for (value, decay), parameters in groups.items()
    ]
    if spec.use == "adam":
        return eager(torch.optim.Adam)(param_groups, lr=spec.lr, betas=spec.betas, amsgrad=spec.amsgrad)
    if spec.use == "adamw":
        return eager(torch.optim.AdamW)(param_groups, lr=spec.lr, betas=spec.betas, amsgrad=spec.amsgrad)
    if spec.use != "sgd":
        return _of_torch(spec, param_groups)
    return eager(torch.optim.SGD)(param_groups, lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov)


def _of_torch(spec: Optimizer, param_groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Builds a class of torch.optim with the job's `options`.

    Raises:
        JobError: there is no such class, it lacks one of the arguments or weight decay, or it refuses a value.
    """
    classes: dict[str, Any] = {
        name: value
        for name, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    if spec.use not in classes:
        close = difflib.get_close_matches(spec.use, classes, n=1)
        do = f"did you mean {close[0]}?" if close else f"sgd, adam, adamw, {', '.join(sorted(classes))}"
        raise JobError(f"torch.optim has no optimizer {spec.use!r}", "optimizer.use", do)
    arguments = set(inspect.signature(classes[spec.use]).parameters)
    if spec.weight_decay and "weight_decay" not in arguments:
        raise JobError(f"{spec.use} has no weight decay", "optimizer.weight_decay", "leave weight_decay out")
    known = arguments - {"params", "lr", "weight_decay"}
    if unknown := sorted(spec.options.keys() - known):
        what = f"{spec.use} has no argument {', '.join(unknown)}"
        raise JobError(what, "optimizer.options", f"arguments: {', '.join(sorted(known))}")
    try:
        built: torch.optim.Optimizer = eager(classes[spec.use])(param_groups, lr=spec.lr, **_as_tuples(spec.options))
    except (TypeError, ValueError, RuntimeError) as error:
        raise JobError(f"{spec.use} refuses its arguments: {error}", "optimizer", "change options or lr") from error
    return built


def _as_tuples(options: dict[str, Any]) -> dict[str, Any]:
    """The options with tuples in place of lists, as torch expects them."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def set_learning_rate(optimizer: torch.optim.Optimizer, base: float) -> None:
    """Sets the learning rate of each group to the base learning rate times the group's multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = base * group["scale"]


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """2-norm of the concatenated gradients, a scalar on their device."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def _matches(name: str, pattern: str) -> bool:
    """Whether a pattern matches a parameter's name, with or without `backbone.` or `head.`."""
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.split(".", 1)[1], pattern)


def _require_matches(key: str, patterns: Sequence[str], names: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in names):
            known = ", ".join(name.split(".", 1)[1] for name in names)
            raise JobError(f"{key}: {pattern!r} matches no parameter", do=f"parameters: {known}")
