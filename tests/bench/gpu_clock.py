"""What gpu.py measures with: times on a device, and its bandwidth and arithmetic."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

DENSE_BF16_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "A10": 125.0}
"""Part of the device's name -> dense bf16 TFLOP/s of the data sheet."""


class Clock:
    """Measures calls on a device, and the script's remaining time."""

    def __init__(self, device: torch.device, minutes: float, repeats: int) -> None:
        self.device, self.repeats = device, repeats
        self._began, self._limit = time.monotonic(), minutes * 60

    def left(self) -> float:
        """Returns the seconds until the limit."""
        return self._limit - (time.monotonic() - self._began)

    def spent(self) -> float:
        """Returns the seconds since the start."""
        return time.monotonic() - self._began

    def seconds(self, call: Callable[[], object], calls: int) -> float:
        """Returns the seconds of one call, averaged over `calls` calls in a row."""
        if self.device.type != "cuda":
            began = time.perf_counter()
            for _ in range(calls):
                call()
            return (time.perf_counter() - began) / calls
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        first.record()
        for _ in range(calls):
            call()
        last.record()
        torch.cuda.synchronize()
        return first.elapsed_time(last) / 1e3 / calls

    def compare(self, arms: Mapping[str, Callable[[], object]], around: float = 0.05) -> dict[str, list[float]]:
        """Returns the seconds of one call of each arm. Arms run in turns of about `around` seconds."""
        calls = {}
        for name, call in arms.items():
            self.seconds(call, 3)  # compilation, cuDNN's choice of algorithms, allocation
            once = max(self.seconds(call, 2), 1e-6)
            calls[name] = max(1, min(1000, round(around / once))) if self.device.type == "cuda" else 1
        turns = [{name: self.seconds(call, calls[name]) for name, call in arms.items()} for _ in range(self.repeats)]
        return {name: [turn[name] for turn in turns] for name in arms}


def spread(values: list[float]) -> dict[str, float]:
    """Returns median and quartiles."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": statistics.median(values), "low": low, "high": high}


def quotient(ours: list[float], theirs: list[float]) -> float:
    """Returns the median of `theirs / ours` over the turns: the speed-up of our arm."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def copy_bandwidth(clock: Clock, size: int) -> dict[str, float]:
    """Measures a copy of `size` bytes on the device in GB/s, read and written."""
    source = torch.empty(size, dtype=torch.uint8, device=clock.device).fill_(1)
    target = torch.empty_like(source)
    seconds = clock.compare({"copy": lambda: target.copy_(source)})["copy"]
    return spread([2 * size / took / 1e9 for took in seconds])


def matmul_peak(clock: Clock, side: int) -> dict[str, Any]:
    """Measures TFLOP/s of a square bf16 matrix product; adds the data sheet's number if the device is known."""
    a, b = (torch.randn(side, side, dtype=torch.bfloat16, device=clock.device) for _ in range(2))
    seconds = clock.compare({"matmul": lambda: a @ b})["matmul"]
    name = torch.cuda.get_device_name() if clock.device.type == "cuda" else "CPU"
    sheet = next((value for part, value in DENSE_BF16_TFLOPS.items() if part in name.split()), None)
    found = spread([2 * side**3 / took / 1e12 for took in seconds])
    return {"measured_tflops": found, "side": side, "data_sheet_tflops": sheet}
