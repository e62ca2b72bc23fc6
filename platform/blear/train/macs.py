"""Multiply-accumulate operations (MACs) of a network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@torch.no_grad()
def count_macs(network: Callable[[Tensor], object], frames_BTCHW: Tensor) -> int:
    """Counts the multiply-accumulates of convolutions, matrix products and attention for one input.

    Half of the operations that `torch.utils.flop_counter` counts. Biases, normalisations and activations are not
    counted, and neither is anything that runs outside torch.

    Args:
        network: the network, in evaluation mode, or a function that runs it.
        frames_BTCHW: the input.
    """
    # fused recurrent layers are one operation that the counter does not know
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of TF32 where the flag is set
        with torch.backends.mkldnn.flags(enabled=False), _FlopCounter() as counter:
            network(frames_BTCHW)
    return counter.flops // 2


class _FlopCounter(TorchDispatchMode):
    """Sums the operations of torch's registry. `FlopCounterMode` imports torch's compiler, which takes two seconds."""

    def __init__(self) -> None:
        super().__init__()
        from torch.utils.flop_counter import flop_registry  # imports triton

        self._formulas = flop_registry
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if (count := self._formulas.get(func._overloadpacket)) is not None:
            self.flops += int(count(*args, **(kwargs or {}), out_val=out))
        return out
