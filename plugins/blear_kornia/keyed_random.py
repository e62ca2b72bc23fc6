"""Random numbers of torch from the keys of samples instead of torch's generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from blear.contracts import DrawKeys


class KeyedRandom(TorchFunctionMode):
    """Replaces torch's random functions in the current thread by functions of the samples' keys.

    The rows of sample b are a function of its key and of the index of the call. torch's global generator is neither
    read nor changed, so that other threads may use it. `torch.randperm` returns the numbers in ascending order.

    Args:
        keys: keys of B samples. The first dimension of every random tensor is a multiple of B, sample after sample.

    Raises:
        RuntimeError: the first dimension of a random tensor is no multiple of B. With one sample any shape is allowed.
    """

    def __init__(self, keys: DrawKeys) -> None:
        super().__init__()
        self._keys, self._calls = keys, 0

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Returns keyed numbers for a random function; calls any other function."""
        kwargs = kwargs or {}
        if func in (torch.rand, torch.randn):
            numbers = self._uniform(tuple(args[0]) if isinstance(args[0], Sequence) else tuple(args))
            dtype = kwargs.get("dtype") or torch.float32
            if func is torch.randn:
                return torch.special.ndtri(numbers + 2.0**-54).to(dtype)  # + 2^-54: ndtri(0) is infinite
            return numbers.to(dtype).clamp_(max=1 - torch.finfo(dtype).eps / 2)  # rounding may give 1
        if func is torch.bernoulli:
            return (self._uniform(tuple(args[0].shape)) < args[0]).to(args[0].dtype)
        if func is torch.randint:
            return (self._uniform(tuple(args[-1])) * args[-2]).long() if len(args) == 2 else NotImplemented
        if func is torch.randperm:  # an order of steps is drawn for a batch, not for a sample
            return torch.arange(args[0])
        return func(*args, **kwargs)

    def _uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Returns uniform float64 in [0, 1)."""
        count = len(self._keys.samples_B)
        if count != 1 and (not shape or shape[0] % count):
            raise RuntimeError(f"a random tensor of shape {shape} cannot be divided among a batch of {count} samples")
        keys = self._keys.nested(self._calls)
        self._calls += 1
        return torch.from_numpy(keys.uniform(torch.Size(shape).numel() // count)).reshape(shape)
