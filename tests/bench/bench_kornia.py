"""Benchmark of the kornia components: keyed draw, draw with application, and kornia's own call."""

from __future__ import annotations

import time

import numpy as np
import torch
from kornia import augmentation
from measuring import Row, interleaved, rate_rows, threads

from blear.contracts import BuildContext, ClipSpec, DrawKeys
from blear.plugin.discovery import load_plugins

BATCH, SIZE = 32, 96
REPEATS = 5


def measure() -> list[Row]:
    """Measures every component with its example parameters, in CPU time on one thread."""
    torch.manual_seed(0)
    with threads(1), torch.no_grad():
        found = load_plugins().components["degradation"]
        return [row for name in sorted(found) if name.startswith("kornia/") for row in _compare(name)]


def _compare(name: str) -> list[Row]:
    frames = torch.rand(BATCH, 1, 3, SIZE, SIZE)
    component = load_plugins().get("degradation", name)
    params = component.params(component.component.examples[0])
    operation = component.build(component.component.examples[0], BuildContext(clip=ClipSpec(1, 3, SIZE, SIZE)))
    keys = DrawKeys(0, 0, np.zeros(BATCH, np.int64), np.arange(BATCH))
    arguments = {key: getattr(params, key) for key in type(params).model_fields}
    if name == "kornia/RandomFisheye":
        arguments = {
            key: torch.tensor(value) if isinstance(value, tuple) else value for key, value in arguments.items()
        }
    own = getattr(augmentation, name.split("/")[1])(**arguments)
    arms = {
        "kornia's own call": lambda: own(frames[:, 0]),
        "draw": lambda: operation.draw(keys),
        "draw and apply": lambda: operation.apply(frames, operation.draw(keys)),
    }
    seconds = interleaved(arms, REPEATS, warm=1, clock=time.process_time)
    return rate_rows(seconds, BATCH, "images/s", "kornia's own call", f"{name.split('/')[1]}, ")
