"""Copies of batches to a CUDA device on a stream of their own, so that training steps do not wait for copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def device_copier(device: torch.device | None) -> Callable[[Tensor], Tensor]:
    """Returns the function with which a reader thread moves a tensor to `device`.

    For CUDA, the function pins the tensor, copies it on a separate stream and waits for the copy. For the CPU, and for
    None, it returns the tensor unchanged.
    """
    if device is None or device.type != "cuda":
        return lambda tensor: tensor
    import torch

    copy_stream = torch.cuda.Stream(device)
    compute_stream = torch.cuda.current_stream(device)

    def copy(tensor: Tensor) -> Tensor:
        if tensor.device.type == "cuda":
            return tensor
        with torch.cuda.stream(copy_stream):
            copied = tensor.pin_memory().to(device, non_blocking=True)
            copy_stream.synchronize()  # blocks this reader thread only; training steps continue
        copied.record_stream(compute_stream)  # keeps the memory from the next copy until the step has used it
        return copied

    return copy
