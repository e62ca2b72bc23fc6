"""Parts of gpu.py that train: a batch in memory, data on the device, data on the host, FER2013."""

from __future__ import annotations

import statistics
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_clock import Clock, quotient, spread
from gpu_operations import FACTORS, down_up_bank, draw
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d, relu
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18

FER_COUNT = 28_709


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
