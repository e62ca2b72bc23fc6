"""The device that a person names for a network."""

from __future__ import annotations

from blear.contracts import default_device
from blear.errors import RunError

_OPTION = "--device"


def chosen_device(name: str) -> str:
    """Returns the torch device of `cpu`, `cuda`, `cuda:N` or `auto`: the GPU where there is one, else the CPU.

    Raises:
        RunError: there is no such device.
    """
    if name == "auto":
        return default_device()
    if name == "cpu":
        return name
    kind, _, number = name.partition(":")
    if kind != "cuda" or (":" in name and not number.isdecimal()):
        raise RunError(f"there is no device {name!r}", _OPTION, "give cpu, cuda or auto")
    if default_device() != "cuda":
        raise RunError("torch can use no GPU of this machine", f"{_OPTION} {name}", "give cpu or auto")
    import torch

    if int(number or 0) >= (count := torch.cuda.device_count()):
        raise RunError(f"this machine has {count} GPUs, from cuda:0 on", f"{_OPTION} {name}", "give another number")
    return name
