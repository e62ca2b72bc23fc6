"""First weights of a layer."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


def initialise_(layer: nn.Conv2d | nn.Linear, fill_: Callable[[Tensor], Tensor]) -> None:
    """Fills the weight in place with `fill_` and the bias with zeros."""
    fill_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
