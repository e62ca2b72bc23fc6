"""Benchmark: downscaling with mixed factors, by batched products or by kornia's and torch's resize for each sample."""

from __future__ import annotations

import math
import statistics

import torch
from kornia.augmentation import Resize
from kornia.constants import Resample
from kornia.geometry.transform import resize
from measuring import Row, interleaved, quartiles, rate_rows, threads
from networks import cnn5x5, step_of
from torch import Tensor

from blear.separable import SeparableBank, compose, down_up, down_up_bank

FACTORS = (3, 4, 6, 8, 12, 16)
SIZES = ((128, 1, 48), (128, 1, 96), (32, 3, 224))


def kornia_down_up(frames: Tensor, index: Tensor, antialias: bool = True) -> Tensor:
    """Resizes sample by sample. kornia's antialiasing is a Gaussian blur before the resize, not a wider kernel."""
    size, done = tuple(frames.shape[-2:]), []
    for sample, k in zip(frames, index.tolist(), strict=True):
        small = tuple(math.ceil(side / FACTORS[k]) for side in size)
        done.append(resize(resize(sample, small, "bicubic", antialias=antialias), size, "bicubic"))
    return torch.stack(done)


def kornia_classes(size: int) -> list[torch.nn.Sequential]:
    """Returns kornia's augmentation classes, built once for each factor."""
    cubic = {"resample": Resample.BICUBIC, "antialias": True}
    return [
        torch.nn.Sequential(Resize((small, small), **cubic), Resize((size, size), **cubic))
        for small in (math.ceil(size / factor) for factor in FACTORS)
    ]


def torch_down_up(frames: Tensor, index: Tensor) -> Tensor:
    """Resizes sample by sample with torch's `interpolate`, the source of the matrices."""
    size, done = tuple(frames.shape[-2:]), []
    for sample, k in zip(frames, index.tolist(), strict=True):
        for shape in (tuple(math.ceil(side / FACTORS[k]) for side in size), size):
            sample = torch.nn.functional.interpolate(sample, shape, mode="bicubic", antialias=True)
        done.append(sample)
    return torch.stack(done)


def measure() -> list[Row]:
    """Measures every size with one and two threads, and the degradation's share of a small training step."""
    torch.manual_seed(0)
    rows: list[Row] = []
    for cores in (1, 2):
        with threads(cores):
            for batch, channels, size in SIZES:
                rows += _compare(batch, channels, size, cores)
            rows.append(_share(cores))
    return rows


def _compare(batch: int, channels: int, size: int, cores: int) -> list[Row]:
    frames = torch.rand(batch, 1, channels, size, size)
    index = torch.arange(batch) % len(FACTORS)  # every factor equally often, in random order
    index = index[torch.randperm(batch)]
    bank = down_up_bank(FACTORS, size, size)
    whole = [(compose(*down_up(size, factor)),) for factor in FACTORS]
    dense = SeparableBank(whole, whole)
    classes = kornia_classes(size)
    arms = {
        "kornia resize by sample": lambda: kornia_down_up(frames, index),
        "kornia resize by sample, no antialias": lambda: kornia_down_up(frames, index, antialias=False),
        "kornia.augmentation.Resize by sample": lambda: torch.cat(
            [classes[k](sample) for sample, k in zip(frames[:, 0], index.tolist(), strict=True)]
        ),
        "torch interpolate by sample": lambda: torch_down_up(frames, index),
        "blear, whole operators": lambda: dense(frames, index),
        "blear": lambda: bank(frames, index),
        "copy of the frames": frames.clone,
    }
    what = f"{batch} x {channels} x {size} x {size}, {cores} threads, "
    rows = rate_rows(interleaved(arms, repeats=9), batch, "images/s", "kornia resize by sample", what)
    difference = (bank(frames, index) - torch_down_up(frames, index)).abs().max().item()
    return [*rows, Row(f"{what}largest difference from torch", difference, "of 1")]


def _share(cores: int) -> Row:
    """Returns the degradation's share of a training step: CNN+D x 0.25 on 128 images of 48 px."""
    frames = torch.rand(128, 1, 1, 48, 48)
    index = torch.randint(len(FACTORS), (128,))
    bank = down_up_bank(FACTORS, 48, 48)
    step = step_of(cnn5x5(width=0.25, size=48))
    targets = torch.rand(128)
    arms = {"degrade": lambda: bank(frames, index), "step": lambda: step(bank(frames, index), targets)}
    seconds = interleaved(arms, repeats=9)
    shares = [part / whole for part, whole in zip(seconds["degrade"], seconds["step"], strict=True)]
    name = f"degradation's share of a step of CNN+D x 0.25, 128 x 1 x 48 x 48, {cores} threads"
    return Row(name, 100 * statistics.median(shares), "%", spread=quartiles([100 * share for share in shares]))
