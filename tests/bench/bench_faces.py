"""Faces drawn in a second, stills and clips, RGB and luma, samples ready for the shards.

    python tests/bench/bench_faces.py [--size 96] [--faces 512] [--runs 5] [--threads 2]

Writes the median rate of each with its spread (slowest and fastest run).
"""

import argparse
import statistics
import sys
import time

import torch

from blear.contracts import BuildContext
from blear_faces.dataset import ProceduralFaces
from blear_faces.params import ProceduralParams


def rate(size, color, frames, faces):
    """Frames drawn in a second, read through the dataset."""
    per_subject = max(1, faces // (8 * frames))
    params = ProceduralParams(
        size=size, color=color, frames=frames, subjects={"train": 8, "dev": 1}, per_subject=per_subject
    )
    data = ProceduralFaces(params, BuildContext(seed=0))
    start = time.perf_counter()
    drawn = sum(len(sample.frames) for sample in data.samples("train", data.parts("train")[0]))
    return drawn / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--faces", type=int, default=512)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sys.stdout.write(f"{options.size} px, {options.threads} threads, frames per second (slowest to fastest run)\n")
    for color in ("rgb", "luma"):
        for frames in (1, 16):
            rate(options.size, color, frames, 64)  # warm up
            rates = [rate(options.size, color, frames, options.faces) for _ in range(options.runs)]
            what = f"{color} {'stills' if frames == 1 else f'clips of {frames}'}"
            spread = f"({min(rates):.0f} to {max(rates):.0f})"
            sys.stdout.write(f"{what:<20} {statistics.median(rates):7.0f} {spread}\n")


if __name__ == "__main__":
    main()
