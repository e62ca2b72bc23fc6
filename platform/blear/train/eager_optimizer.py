"""Optimizers that do not import PyTorch's compiler."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch

_Optimizer = TypeVar("_Optimizer", bound=torch.optim.Optimizer)
_METHODS = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""Methods that `torch.optim.Optimizer` hides from `torch.compile`, for which it imports the compiler."""
_subclasses: dict[type, Any] = {}


def eager(optimizer_class: type[_Optimizer]) -> type[_Optimizer]:
    """A subclass with the same results, whose methods do not import `torch._dynamo`.

    PyTorch imports the compiler, about three seconds of CPU, in each process that builds an optimizer. It only needs
    the compiler where a compiled function contains the optimizer; blear compiles models only.

    Example:
        `eager(torch.optim.SGD)(parameters, lr=0.1)`
    """
    if optimizer_class not in _subclasses:
        methods: dict[str, Any] = {name: inspect.unwrap(getattr(optimizer_class, name)) for name in _METHODS}
        methods["step"] = _step(inspect.unwrap(optimizer_class.step))
        _subclasses[optimizer_class] = type(optimizer_class.__name__, (optimizer_class,), methods)
    subclass: type[_Optimizer] = _subclasses[optimizer_class]
    return subclass


def _step(step: Callable[..., Any]) -> Callable[..., Any]:
    """`Optimizer.step` in eager mode: gradients are recorded only if the optimizer is differentiable."""

    def call(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):
            return step(self, *args, **kwargs)

    return call
