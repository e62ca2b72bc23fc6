"""Benchmark: procedural faces per second, as stills and clips, RGB and luma."""

from __future__ import annotations

import functools

from measuring import Row, interleaved, rate_rows, threads

from blear.contracts import BuildContext
from blear_faces.dataset import ProceduralFaces
from blear_faces.params import ProceduralParams

FACES = 256


def draw(color: str, frames: int) -> int:
    """Renders `FACES` frames with the dataset. Returns their number."""
    per_subject = FACES // (8 * frames)
    params = ProceduralParams(
        size=96, color=color, frames=frames, subjects={"train": 8, "dev": 1}, per_subject=per_subject
    )
    data = ProceduralFaces(params, BuildContext(seed=0))
    return sum(len(sample.frames) for sample in data.samples("train", data.parts("train")[0]))


def measure() -> list[Row]:
    """Measures every colour and clip length with one and with two threads."""
    rows: list[Row] = []
    for cores in (1, 2):
        with threads(cores):
            arms = {
                f"{color} {what}": functools.partial(draw, color, frames)
                for color in ("rgb", "luma")
                for what, frames in (("stills", 1), ("clips of 16", 16))
            }
            seconds = interleaved(arms, repeats=5, warm=1)
            rows += rate_rows(seconds, FACES, "frames/s", "rgb stills", f"96 px, {cores} threads, ")
    return rows
