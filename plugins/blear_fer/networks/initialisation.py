"""Initialisation of a layer's weights."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


def initialise_(layer: nn.Conv2d | nn.Linear, fill_: Callable[[Tensor], Tensor]) -> None:
    """Initialises a layer in place: the weight with `fill_`, the bias with zeros."""
    fill_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
