"""The precision of a model's arithmetic: which type `cluster.precision: auto` is on a device."""

from __future__ import annotations

import contextlib

import torch

from blear.train.worker import Worker

_NATIVE_ON_CPU = ("avx512_bf16", "amx_bf16")


def native_bfloat16(device: torch.device) -> bool:
    """Whether a device computes bfloat16 itself; cards and CPUs that emulate it are slower than with float32.

    Measured with channels-last weights on a CPU with `avx512_bf16`: a step of a plain convolutional network takes 36 ms
    instead of 98 ms, one of an R3D-like network 25 ms instead of 51 ms (one thread).
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(bool(known.get(name)) for name in _NATIVE_ON_CPU)


def choose_precision(precision: str, worker: Worker) -> str:
    """The type of a job's `cluster.precision`, "float32" or "bfloat16", the same on all workers, which all call it.

    `auto` is bfloat16 if the device of every worker computes it itself.
    """
    if precision != "auto":
        return precision
    return "bfloat16" if all(worker.all_gather(native_bfloat16(worker.device))) else "float32"


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The autocast context of a precision, as `choose_precision` returns it."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()
