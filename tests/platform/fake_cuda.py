"""Runs components on fake CUDA tensors in a process of its own, whose caches then hold fake tensors; prints JSON.

`python fake_cuda.py degradations | stages`: {"passed": [name, ...], "failed": {name: reason}}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from blear.contracts import BuildContext, ClipSpec, DrawKeys, OnCpu
from blear.data.loader import RawBatch
from blear.errors import BlearError
from blear.job.reader import read_job
from blear.job.schema import Stage
from blear.pipeline.data_facts import data_facts
from blear.plugin.catalog import Catalog, RegisteredComponent
from blear.plugin.discovery import load_plugins
from blear.train.chains import stage_chains
from blear.train.model import build_recognizer, stage_frame_sampler
from blear.train.preprocessing import Preprocessing

BATCH = 4
CUDA = torch.device("cuda")
CLIPS = [ClipSpec(length, channels, 32, 32) for channels in (1, 3) for length in (1, 4)]
CLIPS += [ClipSpec(1, 3, 224, 224)]
# one mode for the whole process: constants that an operation caches belong to the mode they were made under
FAKE = FakeTensorMode(allow_non_fake_inputs=True)


class Results:
    """Outcome of each call by name."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: dict[str, str] = {}

    def run(self, name: str, call: Callable[[], None]) -> None:
        """Calls under the fake mode; an exception is the outcome."""
        try:
            with FAKE:
                call()
            self.passed.append(name)
        except Exception as error:  # noqa: BLE001 - the reason is the result
            self.failed[name] = f"{type(error).__name__}: {error}"


def degradations(results: Results) -> None:
    """Every example of every degradation on grey and colour clips; operations of the CPU are left out."""
    for name, registered in load_plugins().components["degradation"].items():
        for number, example in enumerate(registered.component.examples):
            for channels in (1, 3):
                built = first_accepted(registered, example, channels)
                if built is None or isinstance(built[0], OnCpu):
                    continue
                results.run(f"{name}[{number}] {channels} channels", lambda built=built: degrade(*built))


def first_accepted(registered: RegisteredComponent, example: dict, channels: int) -> tuple | None:
    """The operation for the first clip shape with so many channels that it does not refuse, and that shape."""
    for clip in CLIPS:
        if clip.channels == channels:
            try:
                operation = registered.build(example, BuildContext(seed=1, clip=clip))
                operation.apply(torch.zeros(shape(clip)), operation.draw(keys()))
                return operation, clip
            except BlearError:
                continue
    return None


def degrade(operation, clip: ClipSpec) -> None:
    """Frames on the device stay there."""
    draws = {name: torch.empty_like(value, device=CUDA) for name, value in operation.draw(keys()).items()}
    frames = operation.apply(torch.empty(shape(clip), device=CUDA), draws)
    assert frames.device.type == "cuda", frames.device


def build(registered: RegisteredComponent, params: dict, context: BuildContext, build=RegisteredComponent.build):
    """Degradations draw real numbers on the CPU, also where a chain is called under the fake mode."""
    built = build(registered, params, context)
    if registered.slot == "degradation":
        draw = built.draw

        def real(keys: DrawKeys) -> dict:
            with unset_fake_temporarily():
                return draw(keys)

        object.__setattr__(built, "draw", real)
    return built


def shape(clip: ClipSpec) -> tuple[int, ...]:
    return (BATCH, clip.length, clip.channels, clip.height, clip.width)


def keys() -> DrawKeys:
    return DrawKeys(7, 0, np.zeros(BATCH, np.int64), np.arange(BATCH))


def stages(results: Results) -> None:
    """Every stage of every job, as trained on its fallback data: forward, loss, decode."""
    for path in sorted((Path(__file__).resolve().parents[2] / "jobs").glob("*.yaml")):
        job, catalog = read_job(path)
        stored, _ = data_facts(job, catalog)
        seen = set()
        for name, stage in job.stages.items():
            alike = stage.model_copy(update={"steps": 1}).model_dump_json(exclude={"optimizer"})
            if alike not in seen:
                seen.add(alike)
                clip, targets = stored[stage.data].clip, stored[stage.data].targets
                sampler = stage_frame_sampler(stage, job.seed, clip)
                context = BuildContext(job.seed, clip if sampler is None else sampler.output_clip(clip), targets)
                chains = stage_chains(job, name, catalog, context)
                results.run(f"{path.stem}/{name}", lambda args=(catalog, stage, name, context, chains): train(*args))


def train(catalog: Catalog, stage: Stage, name: str, before: BuildContext, chains: tuple) -> None:
    augment, degrade, context = chains
    clip, targets = before.clip, before.targets
    model = on_cuda(build_recognizer(catalog, stage, name, context))
    labels = {
        target: torch.zeros(BATCH, dtype=torch.int64 if about.kind == "class" else torch.float32)
        for target, about in targets.items()
    }
    frames = torch.zeros(shape(clip), dtype=torch.uint8)
    raw = RawBatch(np.zeros(BATCH, np.int64), np.arange(BATCH), frames, None, labels)
    batch = Preprocessing(augment, degrade, CUDA).split_cpu()[1](raw)
    with torch.autocast("cuda", torch.bfloat16):
        outputs = model(batch.frames_BTCHW)
        loss = model.head.loss(outputs, batch)
    assert loss.device.type == "cuda", loss.device
    model.head.decode(outputs)


def on_cuda(model: nn.Module) -> nn.Module:
    """`Module.to` swaps tensors, which fake ones do not allow."""
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(value.detach().to(CUDA))
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = value.to(CUDA)
    return model


if __name__ == "__main__":
    RegisteredComponent.build = build
    found = Results()
    {"degradations": degradations, "stages": stages}[sys.argv[1]](found)
    sys.stdout.write(json.dumps({"passed": found.passed, "failed": found.failed}) + "\n")
