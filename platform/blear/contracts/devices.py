"""Devices and threads for components, without importing torch."""

from __future__ import annotations

import ctypes
import os


def default_device() -> str:
    """Returns "cuda" where torch can use a GPU, else "cpu". Without NVIDIA's driver, torch is not imported."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def thread_count() -> int:
    """Returns the number in OMP_NUM_THREADS, which Ray sets to the CPUs of a task; else the number of usable cores."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if given.isdigit():
        return max(1, int(given))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
