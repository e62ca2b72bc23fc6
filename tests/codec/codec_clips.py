"""Helpers of the codec tests: a clip of a procedural face, and PSNR."""

from __future__ import annotations

import functools

import numpy as np

from blear.contracts import BuildContext
from blear_faces.dataset import ProceduralFaces
from blear_faces.params import ProceduralParams

VIDEO = ("h264", "hevc", "av1", "vp9", "mpeg4", "mjpeg")


@functools.cache
def face(size: int = 64, length: int = 6, color: str = "rgb") -> np.ndarray:
    """Returns a clip of a moving face, uint8 [T, H, W, C]."""
    params = ProceduralParams(
        size=size, color=color, frames=length, subjects={"train": 1, "dev": 1}, per_subject=1, recordings=1
    )
    data = ProceduralFaces(params, BuildContext(seed=4))
    return next(iter(data.samples("train", data.parts("train")[0]))).frames


def psnr(clip: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of 8-bit clips, in dB."""
    error = np.mean((clip.astype(float) - other.astype(float)) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-9))
