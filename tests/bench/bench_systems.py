"""Training steps and memory of the published systems at full size, and of their options that reduce the cost.

Each system runs in its own process with one thread. A batch is one clip of 16 frames (FER) or four pictures (the
others) of noise: speed and memory do not depend on the content. Memory includes weights, gradients and momentum. Times
are CPU times, which hardly depend on other load.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from measuring import Row, quartiles

from blear.contracts import Batch, BuildContext, ClipSpec, Target
from blear.job.schema import BackboneUse, HeadUse, Optimizer, Stage
from blear.plugin.discovery import load_plugins
from blear.train.model import build_recognizer

WARM, REPEATS = 1, 2
SEVEN = Target("emotion", "class", ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"))
System = tuple[dict[str, Any], dict[str, Any], tuple[int, int, int, int]]
VGG = {"use": "fer/vgg_face", "layers": "fc6"}
CASES: dict[str, System] = {
    "VGG-Face": ({"use": "fer/vgg_face"}, {"use": "fer/emotion"}, (4, 1, 224, 224)),
    "VGG+GRU": (VGG, {"use": "fer/sequence"}, (1, 16, 224, 224)),
    "VGG+LSTM": (VGG, {"use": "fer/sequence", "cell": "lstm", "dropout": 0.0}, (1, 16, 224, 224)),
    "Resnet+GRU": ({"use": "fer/face_resnet"}, {"use": "fer/multi_level_gru"}, (1, 16, 112, 96)),
    "Resnet+GRU, pool 6": ({"use": "fer/face_resnet"}, {"use": "fer/multi_level_gru", "pool": 6}, (1, 16, 112, 96)),
    "DSN-VGG": ({"use": "dsn/vgg"}, {"use": "dsn/side_outputs"}, (4, 1, 224, 224)),
    "DSN-ResNet-50": ({"use": "dsn/resnet50"}, {"use": "dsn/side_outputs"}, (4, 1, 224, 224)),
    "DSN-ResNet-50, reduce 256": (
        {"use": "dsn/resnet50"},
        {"use": "dsn/side_outputs", "reduce": 256},
        (4, 1, 224, 224),
    ),
    "DenseNet-121": ({"use": "dsn/densenet121"}, {"use": "dsn/two_linear"}, (4, 1, 224, 224)),
    "VTT ResNet-18": ({"use": "vtt/resnet18"}, {"use": "vtt/two_part"}, (4, 1, 224, 224)),
    "VTT TSM": ({"use": "vtt/resnet18", "shift": "causal_stage"}, {"use": "vtt/two_part"}, (1, 4, 224, 224)),
}
"""Name -> backbone, head, (clips, frames, rows, columns)."""
AGAINST = {"Resnet+GRU, pool 6": "Resnet+GRU", "DSN-ResNet-50, reduce 256": "DSN-ResNet-50"}


def measure() -> list[Row]:
    """Measures parameters, steps per second and peak memory of each system."""
    rows: list[Row] = []
    speeds: dict[str, float] = {}
    peaks: dict[str, float] = {}
    for name in CASES:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            parameters, seconds, peaks[name] = pool.submit(steps, name).result()
        speeds[name] = 1 / statistics.median(seconds)
        full = AGAINST.get(name, "")
        faster = speeds[name] / speeds[full] if full else None
        smaller = peaks[full] / peaks[name] if full else None
        rows.append(Row(f"{name}: parameters", parameters, ""))
        rows.append(
            Row(f"{name}: steps", speeds[name], "steps/s", faster, full, quartiles([1 / took for took in seconds]))
        )
        rows.append(Row(f"{name}: peak memory", peaks[name], "MB", smaller, full))
    return rows


def steps(name: str) -> tuple[int, list[float], float]:
    """Returns parameters, CPU seconds of each step, and the increase of this process's peak memory in MB."""
    torch.set_num_threads(1)
    before = peak_mb()
    backbone, head, (clips, frames, height, width) = CASES[name]
    stage = Stage(
        data="faces",
        backbone=BackboneUse(**backbone),
        head=HeadUse(**head),
        optimizer=Optimizer(lr=1e-6),
        steps=1,
    )
    context = BuildContext(clip=ClipSpec(frames, 3, height, width), targets={"emotion": SEVEN})
    model = build_recognizer(load_plugins(), stage, name, context)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-6, momentum=0.9)
    seconds = []
    for _ in range(WARM + REPEATS):
        frames_BTCHW = torch.rand(clips, frames, 3, height, width)
        batch = Batch(frames_BTCHW, frames_BTCHW, {"emotion": torch.randint(7, (clips,))})
        began = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        model.head.loss(model(batch.frames_BTCHW), batch).backward()
        optimizer.step()
        seconds.append(time.process_time() - began)
    return sum(p.numel() for p in model.parameters()), seconds[WARM:], peak_mb() - before


def peak_mb() -> float:
    """Returns the peak resident memory of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
