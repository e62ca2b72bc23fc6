"""Frames per second of each codec at default preset and quality: clips of 16 frames and stills, one and two cores.

Also training steps per second with a codec as degradation, inside the step and ahead of it.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from measuring import Row, interleaved, rate_rows, threads
from networks import cnn5x5, step_of
from torch import Tensor

from blear.contracts import Batch, BuildContext, DrawKeys
from blear.data.decoded.store import Store
from blear.data.loader import batches
from blear.data.prepare.run import prepare_dataset
from blear.data.raw_batch import RawBatch
from blear.data.sampling.sampler import Sampler
from blear.degradation.chain import Chain
from blear.plugin.component_ref import ComponentRef
from blear.plugin.discovery import load_plugins
from blear.train.preprocessing import Preprocessing
from blear_faces.dataset import ProceduralFaces
from blear_faces.params import ProceduralParams

CODECS = ("h264", "hevc", "av1", "vp9", "mpeg4", "mjpeg", "jpeg")
CLIPS, LENGTH, SIZE, TRAINED = 16, 16, 96, 64


def faces() -> Tensor:
    """Returns clips of moving faces, float32 [B, T, C, H, W]."""
    params = ProceduralParams(size=SIZE, color="rgb", frames=LENGTH, subjects={"train": 1, "dev": 1}, per_subject=CLIPS)
    data = ProceduralFaces(params, BuildContext(seed=0))
    clips = [sample.frames for sample in data.samples("train", data.parts("train")[0])]
    return torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3).float() / 255


def measure() -> list[Row]:
    """Measures each codec on one and two cores. The clips of a batch run in parallel."""
    operations = {name: load_plugins().get("degradation", f"codec/{name}").build({}, BuildContext()) for name in CODECS}
    keys = DrawKeys(0, 0, np.zeros(CLIPS, np.int64), np.arange(CLIPS))
    clips, rows = faces(), []
    cores = sorted(os.sched_getaffinity(0))
    for count in sorted({1, min(2, len(cores))}):
        os.sched_setaffinity(0, cores[:count])
        for what, frames in ((f"clips of {LENGTH}", clips), ("stills", clips[:, :1])):
            arms = {
                name: functools.partial(operation.apply, frames, operation.draw(keys))
                for name, operation in operations.items()
            }
            work, prefix = CLIPS * frames.shape[1], f"{what}, {SIZE} px, {count} cores, "
            with threads(count):
                rows += rate_rows(interleaved(arms, repeats=5, warm=1), work, "frames/s", "jpeg", prefix)
            if count == 1:
                rows += [Row(f"{prefix}{name}, busy", work / busy(call), "frames/s") for name, call in arms.items()]
    os.sched_setaffinity(0, cores)
    return rows + training()


def busy(call: Callable[[], object]) -> float:
    """Returns the CPU seconds of a call, which do not depend on other load."""
    began = time.process_time()
    for _ in range(3):
        call()
    return (time.process_time() - began) / 3


def training() -> list[Row]:
    """Measures steps with H.264 on each batch, inside and ahead of the step: CNN+D on the CPU, a simulated device."""
    params = {"size": TRAINED, "frames": 4, "color": "luma", "subjects": {"train": 8, "dev": 1}, "per_subject": 16}
    codec = load_plugins().get("degradation", "codec/h264").build({"crf": [23, 33, 43]}, BuildContext())
    rows = []
    with tempfile.TemporaryDirectory() as folder, threads(1):
        ref = ComponentRef("dataset", "faces/procedural", params)
        store = Store.open(prepare_dataset(ref, Path(folder), version="0", workers=1), "train")
        whole = Preprocessing(Chain([], 0), Chain([codec], 0), torch.device("cpu"))
        step = step_of(cnn5x5(0.5, TRAINED))
        rows += _overlap(store, whole, lambda batch: step(batch.frames_BTCHW, batch.targets["valence"]), "CNN+D x 0.5")
        alone = min(interleaved({"": lambda: _coded(store, whole)}, repeats=8)[""])
        rows += _overlap(store, whole, lambda batch: time.sleep(alone), f"a device that takes {1000 * alone:.0f} ms")
    return rows


def _coded(store: Store, whole: Preprocessing) -> None:
    """Reads and degrades one batch inside the step, without a network."""
    with closing(batches(store, Sampler(store.counts, 32, 0), 0, 1)) as stream:
        whole(next(stream))


def _overlap(store: Store, whole: Preprocessing, step: Callable[[Batch], object], what: str) -> list[Row]:
    ahead, rest = whole.split_cpu()
    order, room = (
        Sampler(store.counts, 32, 0),
        3 * 32 * 4 * TRAINED**2 * (4 + 1),
    )  # a small buffer, so that few batches are ready before the timing starts
    seconds = {}
    for name, work, left in (("in the step", None, whole), ("ahead of it", ahead, rest)):
        count = 1 if work is None else 2
        with closing(batches(store, order, 0, 10**9, transform=work, threads=count, prefetch_bytes=room)) as stream:

            def train(stream: Iterator[RawBatch], left: Preprocessing) -> None:
                step(left(next(stream)))

            # not interleaved: the threads of one arm would run while the other is timed
            call = functools.partial(train, stream, left)
            seconds[name] = interleaved({name: call}, repeats=40, warm=10)[name]
    return rate_rows(seconds, 1, "steps/s", "in the step", f"32 clips of 4 x {TRAINED} px, {what}, H.264 ")
