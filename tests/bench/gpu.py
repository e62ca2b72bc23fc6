"""Benchmarks for a GPU: one run of at most eight minutes, with the results in one JSON file.

    python tests/bench/gpu.py [--out gpu.json] [--device cuda] [--minutes 8] [--fer FER2013.npy] [--tiny]

The script needs torch, torchvision and numpy; the project need not be installed. If kornia is installed, the parts
`blur` and `resize` compare its functions with matrices. blear_corruptions/blur/separable_filter.py holds the choice
between the two. `--fer` is a uint8 array [N, 48, 48]; the default is random images. `--device cpu --tiny` runs every
part in seconds. Times are CUDA events around several calls, given as median and quartiles over repeats. Compared arms
run in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import importlib.util
import json
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_clock import Clock, copy_bandwidth, matmul_peak
from gpu_operations import blur, degradation, resized
from gpu_training import NETWORK_OF, fer2013, steps

SHAPES = [(128, 1, 96), (8192, 1, 96), (128, 3, 224), (512, 3, 224)]
TINY_SHAPES = [(6, 1, 96), (2, 3, 224)]
NETWORKS = [("CNN+D", 1024, (1, 96, 96)), ("ResNet-18", 256, (3, 224, 224))]
TINY_NETWORKS = [("CNN+D", 4, (1, 32, 32)), ("ResNet-18", 2, (3, 32, 32))]
RESERVE_S = 60
"""No part starts with less remaining time: about the duration of a compiled part."""
Part = Callable[[], list[dict[str, Any]]]


def plan(clock: Clock, tiny: bool, fer: Path | None, copy: float, peak: float) -> list[tuple[str, str, Part]]:
    """Returns (name, key of the result, function) of every part, the most important first."""
    backend = backend_of(clock)
    parts: list[tuple[str, str, Part]] = []
    for shape in (TINY_SHAPES if tiny else SHAPES) if importlib.util.find_spec("kornia") else ():
        for name, measured in (("blur", blur), ("resize", resized)):
            parts.append((f"{name} {shape}", name, functools.partial(measured, clock, shape)))
    for compiler in (None, backend):
        for shape in TINY_SHAPES if tiny else SHAPES:
            run = functools.partial(degradation, clock, shape, copy, compiler)
            parts.append((f"degradation {shape}, compiled: {bool(compiler)}", "degradation", run))
        for network, batch, shape in TINY_NETWORKS if tiny else NETWORKS:
            make = functools.partial(NETWORK_OF[network], shape[-1], 0.0625 if tiny else 1.0)
            arm = {"backend": compiler, "channels_last": network == "ResNet-18", "peak": peak}
            run = functools.partial(steps, clock, network, make, batch, shape, arm)
            parts.append((f"steps {network}, compiled: {bool(compiler)}", "steps", run))
        for width in (0.0625,) if tiny else (1.0, 0.25):
            run = functools.partial(fer2013, clock, fer, 16 if tiny else 512, width, compiler)
            parts.append((f"FER2013 CNN+D x {width:g}, compiled: {bool(compiler)}", "fer2013", run))
    return parts


def measure(clock: Clock, tiny: bool, fer: Path | None, out: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Runs all parts and writes the results after each. `skipped` lists parts without time, `failed` has errors."""
    result = facts | {"compiler": backend_of(clock), "skipped": [], "failed": {}}
    result |= {"blur": [], "resize": [], "degradation": [], "steps": [], "fer2013": []}
    result["copy_gb_s"] = copy_bandwidth(clock, 2**20 if tiny else 2**30)
    result["peak"] = matmul_peak(clock, 128 if tiny else 8192)
    copy, peak = result["copy_gb_s"]["median"], result["peak"]["measured_tflops"]["median"]
    for name, key, run in plan(clock, tiny, fer, copy, peak):
        if clock.left() < RESERVE_S:
            result["skipped"].append(name)
            continue
        try:
            result[key] += run()
        except RuntimeError as error:  # out of memory, or no compiler: the other parts still run
            result["failed"][name] = str(error)
        result["seconds"] = clock.spent()
        sys.stderr.write(f"{clock.spent():5.0f} s  {name}\n")
        out.write_text(json.dumps(result, indent=1))
        torch._dynamo.reset()
        if clock.device.type == "cuda":
            torch.cuda.empty_cache()
    return result


def backend_of(clock: Clock) -> str:
    """Returns the compiler to measure. On a CPU it only traces: compilation for a CPU would take minutes."""
    return "inductor" if clock.device.type == "cuda" else "aot_eager"


@contextlib.contextmanager
def settings(device: torch.device) -> Iterator[None]:
    """Enables cuDNN's benchmark mode and exact float32 products for a block of code."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(0)
    yield


def main() -> int:
    """Runs the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--fer", type=Path)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    device = options.device
    facts = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads",
        "memory_gb": torch.cuda.get_device_properties(0).total_memory / 1e9 if device.type == "cuda" else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "tiny": options.tiny,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with settings(device):
        clock = Clock(device, options.minutes, 3 if options.tiny else 9)
        result = measure(clock, options.tiny, options.fer, options.out, facts)
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
