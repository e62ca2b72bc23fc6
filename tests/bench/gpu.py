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
import statistics
import sys
import tempfile
import time
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d, relu
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18

# import the package without its __init__, which needs an installed distribution
_BLEAR = types.ModuleType("blear")
_BLEAR.__path__ = [str(Path(__file__).resolve().parents[2] / "platform" / "blear")]
sys.modules.setdefault("blear", _BLEAR)

from blear.random_keys import uniform  # noqa: E402
from blear.separable import SeparableBank, compose, down_up, down_up_bank  # noqa: E402

FACTORS = (3, 4, 6, 8, 12, 16)
FER_COUNT = 28_709
DENSE_BF16_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "A10": 125.0}
"""Part of the device's name -> dense bf16 TFLOP/s of the data sheet."""


SHAPES = [(128, 1, 96), (8192, 1, 96), (128, 3, 224), (512, 3, 224)]
TINY_SHAPES = [(6, 1, 96), (2, 3, 224)]
NETWORKS = [("CNN+D", 1024, (1, 96, 96)), ("ResNet-18", 256, (3, 224, 224))]
TINY_NETWORKS = [("CNN+D", 4, (1, 32, 32)), ("ResNet-18", 2, (3, 32, 32))]
RESERVE_S = 60
"""No part starts with less remaining time: about the duration of a compiled part."""
Part = Callable[[], list[dict[str, Any]]]


class Cnn5x5(nn.Module):
    """CNN+D with K outputs and the layers of `vlqr/cnn5x5`: frames [B, 1, H, W] -> [B, K]."""

    def __init__(self, size: int, width: float = 1.0, classes: int = 7) -> None:
        super().__init__()
        a, b, c, d = (round(n * width) for n in (64, 128, 256, 300))
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(1, a, 5), nn.Conv2d(a, b, 5), nn.Conv2d(b, c, 5)
        for pool in (2, 2, 4):
            size = -(-(size - 4) // pool)
        self.fc4, self.dropout, self.fc5 = nn.Linear(c * size * size, d), nn.Dropout(0.5), nn.Linear(d, classes)

    def embedding(self, x: Tensor) -> Tensor:
        """Returns the embedding after ReLU, [B, D]."""
        x = relu(max_pool2d(self.conv1(x), 2, ceil_mode=True))
        x = relu(max_pool2d(self.conv2(x), 2, ceil_mode=True))
        x = relu(max_pool2d(self.conv3(x), 4, ceil_mode=True))
        return relu(self.fc4(x.flatten(1)))

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        """Returns logits [B, K]."""
        return self.fc5(self.dropout(self.embedding(frames_BCHW)))


def _resnet18(size: int, width: float) -> nn.Module:
    return resnet18(num_classes=7)


NETWORK_OF = {"CNN+D": Cnn5x5, "ResNet-18": _resnet18}


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


def draw(epoch: int, samples_B: np.ndarray) -> Tensor:
    """Returns the index of each sample's operator, drawn as in the platform."""
    words = uniform(0, 0, np.full(len(samples_B), epoch), samples_B, 1)[:, 0]
    return torch.from_numpy((words * len(FACTORS)).astype(np.int64))


def degradation(
    clock: Clock, shape: tuple[int, int, int], copy_gb_s: float, backend: str | None
) -> list[dict[str, Any]]:
    """Measures a batch of mixed factors in GB/s: frames are read once and written once; matrices do not count."""
    batch, channels, size = shape
    frames = torch.rand(batch, 1, channels, size, size, device=clock.device)
    index = draw(0, np.arange(batch)).to(clock.device)
    bank = down_up_bank(FACTORS, size, size)
    reference = bank(frames.cpu(), index.cpu())
    arms: dict[str, Callable[[], Tensor]] = {"blear": lambda: bank(frames, index)}
    if backend is not None:
        compiled = torch.compile(bank.__call__, backend=backend, dynamic=False)
        arms["compiled"] = lambda: compiled(frames, index)
    else:
        whole = [(compose(*down_up(size, factor)),) for factor in FACTORS]
        dense = SeparableBank(whole, whole)
        arms |= {"whole operators": lambda: dense(frames, index), "copy": frames.clone}
        if clock.device.type == "cuda":
            arms["blear, TF32"] = lambda: _with_tf32(lambda: bank(frames, index))
    results = []
    for name, seconds in clock.compare(arms).items():
        rate = spread([2 * frames.nbytes / took / 1e9 for took in seconds])
        off = None if name == "copy" else float((arms[name]().cpu() - reference).abs().max())
        results.append(
            {
                "batch": batch,
                "channels": channels,
                "size": size,
                "arm": name,
                "gb_s": rate,
                "of_copy": rate["median"] / copy_gb_s,
                "images_s": batch / statistics.median(seconds),
                "off_reference": off,
            }
        )
    return results


def blur(clock: Clock, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Measures images/s of a Gaussian blur with one sigma per sample: kornia's filter, and two matrix products."""
    from kornia.filters import filter2d_separable, get_gaussian_kernel1d

    batch, channels, size = shape
    frames = torch.rand(batch, channels, size, size, device=clock.device)
    sigma = torch.linspace(0.5, 3, batch, device=clock.device)[:, None]
    weights_BK = get_gaussian_kernel1d(25, sigma)
    places = (torch.arange(size)[:, None] + torch.arange(-12, 13)).clamp(0, size - 1).to(clock.device)

    def matrices() -> Tensor:
        empty = weights_BK.new_zeros(batch, size, size)
        each = empty.scatter_add(2, places.expand(batch, -1, -1), weights_BK[:, None].expand(-1, size, -1))[:, None]
        return each @ (frames @ each.mT)

    arms = {"kornia": lambda: filter2d_separable(frames, weights_BK, weights_BK, "replicate"), "matrices": matrices}
    seconds = clock.compare(arms)
    off = float((arms["kornia"]() - arms["matrices"]()).abs().max())
    facts = {"batch": batch, "channels": channels, "size": size, "off_each_other": off}
    return [
        facts | {"arm": arm, "images_s": spread([batch / took for took in taken])} for arm, taken in seconds.items()
    ]


def resized(clock: Clock, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Measures images/s of a down-up by 3 for all samples: two resizes by kornia, and the bank's matrices."""
    from kornia.geometry.transform import resize

    batch, channels, size = shape
    frames = torch.rand(batch, 1, channels, size, size, device=clock.device)
    index, small = torch.zeros(batch, dtype=torch.int64, device=clock.device), size // 3
    bank = down_up_bank([3], size, size)

    def kornia() -> Tensor:
        return resize(resize(frames[:, 0], (small, small), "bicubic", antialias=True), (size, size), "bicubic")

    facts = {"batch": batch, "channels": channels, "size": size}
    seconds = clock.compare({"kornia": kornia, "bank": lambda: bank(frames, index)})
    return [
        facts | {"arm": arm, "images_s": spread([batch / took for took in taken])} for arm, taken in seconds.items()
    ]


def _with_tf32(call: Callable[[], Tensor]) -> Tensor:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return call()
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


class Trainer:
    """Trains one network on uint8 batches in bfloat16: conversion to float, degradation, optimizer step."""

    def __init__(self, model: nn.Module, frames_B: Tensor, backend: str | None, channels_last: bool = False) -> None:
        device = frames_B.device
        self.model = model.to(device, memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        self.forward = self.model if backend is None else torch.compile(self.model, backend=backend, dynamic=False)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
        self.bank = down_up_bank(FACTORS, frames_B.shape[-2], frames_B.shape[-1])
        self.bank.to(device)

    def loss(self, degraded: Tensor, labels_B: Tensor) -> Tensor:
        """Returns the loss of a degraded float batch."""
        with torch.autocast(degraded.device.type, torch.bfloat16):
            return cross_entropy(self.forward(degraded).float(), labels_B)

    def step(self, frames_B: Tensor, labels_B: Tensor, index_B: Tensor) -> None:
        """Runs one training step on uint8 frames [B, C, H, W] on the device."""
        degraded = self.bank(frames_B.float().div_(255).unsqueeze(1), index_B).squeeze(1)
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(degraded.contiguous(memory_format=self.layout), labels_B).backward()
        self.optimizer.step()

    def flops(self, frames_B: Tensor, labels_B: Tensor) -> int:
        """Returns torch's FLOP count of the network's forward and backward pass, without the degradation."""
        plain, self.forward = self.forward, self.model
        with FlopCounterMode(display=False) as counter:
            self.loss(frames_B.float(), labels_B).backward()
        self.forward = plain
        return counter.get_total_flops()


class HostBatches:
    """Batches of a memory-mapped array. Threads gather them into pinned buffers; a separate stream copies them."""

    def __init__(self, array: np.ndarray, batch: int, device: torch.device, ahead: int = 4) -> None:
        self.source, self.batch, self.device = array, batch, device
        self.cuda = device.type == "cuda"
        shape = (batch, *array.shape[1:])
        self.buffers = [torch.empty(shape, dtype=torch.uint8, pin_memory=self.cuda) for _ in range(ahead)]
        self.copied: list[torch.cuda.Event | None] = [None] * ahead
        self.stream = torch.cuda.Stream() if self.cuda else None
        self.pool = ThreadPoolExecutor(ahead, thread_name_prefix="gather")
        self.waiting: deque[Future[tuple[int, Tensor]]] = deque()
        self.step = 0
        for slot in range(ahead):
            self._ask(slot)

    def _ask(self, slot: int) -> None:
        self.waiting.append(self.pool.submit(self._gather, slot, self.step))
        self.step += 1

    def _gather(self, slot: int, step: int) -> tuple[int, Tensor]:
        copied = self.copied[slot]
        if copied is not None:
            copied.synchronize()  # the copy out of this buffer may still run
        samples_B = np.random.default_rng(step).integers(0, len(self.source), self.batch)
        np.take(
            self.source, samples_B, axis=0, out=self.buffers[slot].numpy(), mode="clip"
        )  # mode "raise" would use a buffer
        return slot, draw(step, samples_B)

    def next(self) -> tuple[Tensor, Tensor]:
        """Returns the next batch on the device: uint8 frames [B, C, H, W], and the operator of each."""
        slot, index_B = self.waiting.popleft().result()
        if self.stream is None:
            frames = self.buffers[slot].clone()
        else:
            with torch.cuda.stream(self.stream):
                frames = self.buffers[slot].to(self.device, non_blocking=True)
                event = torch.cuda.Event()
                event.record(self.stream)
            torch.cuda.current_stream().wait_event(event)
            frames.record_stream(torch.cuda.current_stream())
            self.copied[slot] = event
        self._ask(slot)
        return frames, index_B.to(self.device, non_blocking=True)

    def close(self) -> None:
        """Stops the threads."""
        self.pool.shutdown(wait=True, cancel_futures=True)


def steps(
    clock: Clock, name: str, make: Callable[[], nn.Module], batch: int, shape: tuple[int, int, int], arm: dict[str, Any]
) -> list[dict[str, Any]]:
    """Measures steps/s of one batch in memory, of data on the device and of data on the host; share of peak FLOP/s."""
    count = 8 * batch
    with tempfile.TemporaryDirectory() as folder:
        array = np.lib.format.open_memmap(Path(folder) / "frames.npy", "w+", np.uint8, (count, *shape))
        array[:] = np.random.default_rng(0).integers(0, 256, array.shape, dtype=np.uint8)
        resident = torch.from_numpy(array).to(clock.device)
        labels = torch.randint(7, (batch,), device=clock.device)
        held, index = resident[:batch].clone(), draw(0, np.arange(batch)).to(clock.device)
        trainer = Trainer(make(), held, arm["backend"], arm["channels_last"])
        flops = trainer.flops(held, labels)
        host = HostBatches(array, batch, clock.device)
        try:

            def from_resident() -> None:
                which = np.random.default_rng(1).integers(0, count, batch)
                chosen = resident.index_select(0, torch.from_numpy(which).to(clock.device, non_blocking=True))
                trainer.step(chosen, labels, draw(1, which).to(clock.device, non_blocking=True))

            def from_host() -> None:
                frames, index_B = host.next()
                trainer.step(frames, labels, index_B)

            arms = {"held": lambda: trainer.step(held, labels, index), "resident": from_resident, "host": from_host}
            seconds = clock.compare(arms, around=0.5)
        finally:
            host.close()
    facts = {
        "network": name,
        "batch": batch,
        "shape": list(shape),
        "channels_last": arm["channels_last"],
        "compiled": arm["backend"] is not None,
        "flops_per_step": flops,
        "steps_s": {key: spread([1 / took for took in taken]) for key, taken in seconds.items()},
        "of_held": {key: quotient(seconds[key], seconds["held"]) for key in ("resident", "host")},
        "tflops": flops / statistics.median(seconds["held"]) / 1e12,
        "of_peak": flops / statistics.median(seconds["held"]) / 1e12 / arm["peak"],
    }
    return [facts]


def fer2013(clock: Clock, file: Path | None, batch: int, width: float, backend: str | None) -> list[dict[str, Any]]:
    """Measures epochs/s of CNN+D on degraded images of FER2013's shape, all of them on the device."""
    if file is None:
        frames_N = torch.randint(0, 256, (FER_COUNT, 1, 48, 48), dtype=torch.uint8)
    else:
        frames_N = torch.from_numpy(np.load(file)).reshape(-1, 1, 48, 48)
    frames_N = frames_N.to(clock.device)
    labels_N = torch.randint(7, (len(frames_N),), device=clock.device)
    trainer = Trainer(Cnn5x5(48, width), frames_N[:1], backend)
    step = 0

    def one() -> None:
        nonlocal step
        samples_B = np.random.default_rng(step).integers(0, len(frames_N), batch)
        which = torch.from_numpy(samples_B).to(clock.device, non_blocking=True)
        index_B = draw(step, samples_B).to(clock.device, non_blocking=True)
        trainer.step(frames_N.index_select(0, which), labels_N.index_select(0, which), index_B)
        step += 1

    seconds = clock.compare({"step": one}, around=0.5)["step"]
    facts = {
        "data": "random, of FER2013's shape" if file is None else str(file.name),
        "images": len(frames_N),
        "network": f"CNN+D x {width:g}",
        "batch": batch,
        "compiled": backend is not None,
        "epochs_s": spread([batch / took / len(frames_N) for took in seconds]),
    }
    return [facts]


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
