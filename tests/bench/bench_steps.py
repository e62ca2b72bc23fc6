"""Training steps with the data path (cached shards, sampler, prefetching) compared with one batch in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import torch
from measuring import Row, interleaved, rate_rows, threads
from networks import cnn5x5, resnet18, step_of
from pictures import prepared_faces
from torch import nn

from blear.data.decoded.store import Store
from blear.data.loader import batches
from blear.data.raw_batch import RawBatch
from blear.data.sampling.sampler import Sampler
from blear.degradation.chain import as_float

CPU = torch.device("cpu")
FACES = 512
CASES: tuple[tuple[str, Callable[[], nn.Module], int, int, int], ...] = (
    ("CNN+D x 0.25, 128 x 48 px", partial(cnn5x5, 0.25, 48), 48, 128, 8),
    ("CNN+D, 16 x 96 px", partial(cnn5x5, 1.0, 96), 96, 16, 3),
    ("ResNet-18, 16 x 96 px", resnet18, 96, 16, 6),
)
"""Name, network, frame size in pixels, batch size, steps of one timed call."""


def measure() -> list[Row]:
    """Measures each network with one thread and with two, beside the reading thread of training."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for cores in (1, 2):
            with threads(cores):
                for name, make, size, batch, steps in CASES:
                    prepared = prepared_faces(Path(folder), size, FACES)
                    with closing(Store.open(prepared, "train")) as store:
                        seconds = _compare(make, store, batch, steps)
                    rows += rate_rows(
                        seconds, steps, "steps/s", "one batch held in memory", f"{name}, {cores} threads, "
                    )
    return rows


def _compare(make: Callable[[], nn.Module], store: Store, batch: int, steps: int) -> dict[str, list[float]]:
    order = Sampler(store.counts, batch, 0)
    step = step_of(make())

    def train(raw: RawBatch) -> None:
        step(as_float(raw.frames_BTCHW, CPU), raw.targets["valence"])

    with closing(batches(store, order, 0, 10**9)) as stream:
        for _ in range(-(-len(store) // batch)):
            in_memory = next(stream)  # the first epoch decodes the images

        def from_memory() -> None:
            for _ in range(steps):
                train(in_memory)

        def from_shards() -> None:
            for _ in range(steps):
                train(next(stream))

        return interleaved({"one batch held in memory": from_memory, "the data path": from_shards}, repeats=9)
