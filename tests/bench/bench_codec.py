"""Frames a second through each codec at its default preset and quality: clips of 16 and stills, one core and two."""

from __future__ import annotations

import functools
import os

import numpy as np
import torch
from measuring import Row, interleaved, rate_rows
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys
from blear.plugins import load
from blear_faces.dataset import ProceduralFaces
from blear_faces.params import ProceduralParams

CODECS = ("h264", "hevc", "av1", "vp9", "mpeg4", "mjpeg", "jpeg")
CLIPS, LENGTH, SIZE = 16, 16, 96


def faces() -> Tensor:
    """Clips of moving faces, float32 [B, T, C, H, W]."""
    params = ProceduralParams(size=SIZE, color="rgb", frames=LENGTH, subjects={"train": 1, "dev": 1}, per_subject=CLIPS)
    data = ProceduralFaces(params, BuildContext(seed=0))
    clips = [sample.frames for sample in data.samples("train", data.parts("train")[0])]
    return torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3).float() / 255


def measure() -> list[Row]:
    """One row for each codec, on as many cores as the process may use; the clips of a batch run side by side."""
    operations = {name: load().get("degradation", f"codec/{name}").build({}, BuildContext()) for name in CODECS}
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
            seconds = interleaved(arms, repeats=5, warm=1)
            prefix = f"{what}, {SIZE} px, {count} cores, "
            rows += rate_rows(seconds, CLIPS * frames.shape[1], "frames/s", "jpeg", prefix)
    os.sched_setaffinity(0, cores)
    return rows
