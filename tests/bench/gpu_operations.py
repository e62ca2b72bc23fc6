"""Parts of gpu.py without training: degradation, blur and resize of a batch."""

from __future__ import annotations

import statistics
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_clock import Clock, spread
from torch import Tensor

# import the package without its __init__, which needs an installed distribution
_BLEAR = types.ModuleType("blear")
_BLEAR.__path__ = [str(Path(__file__).resolve().parents[2] / "platform" / "blear")]
sys.modules.setdefault("blear", _BLEAR)

from blear.random_keys import uniform  # noqa: E402
from blear.separable import SeparableBank, compose, down_up, down_up_bank  # noqa: E402

FACTORS = (3, 4, 6, 8, 12, 16)


def draw(epoch: int, samples_B: np.ndarray) -> Tensor:
    """Returns the index of each sample's operator, drawn as in the platform."""
    words = uniform(0, 0, np.full(len(samples_B), epoch), samples_B, 1)[:, 0]
    return torch.from_numpy((words * len(FACTORS)).astype(np.int64))


def degradation(
    clock: Clock, shape: tuple[int, int, int], copy_gb_s: float, backend: str | None
) -> list[dict[str, Any]]:
    """Measures a batch of mixed factors in GB/s: frames are read once and written once; matrices do not count."""
    batch, channels, size = shape
    frames = torch.rand(batch, 1, channels, size, size, device=clock.device)
    index = draw(0, np.arange(batch)).to(clock.device)
    bank = down_up_bank(FACTORS, size, size)
    reference = bank(frames.cpu(), index.cpu())
    arms: dict[str, Callable[[], Tensor]] = {"blear": lambda: bank(frames, index)}
    if backend is not None:
        compiled = torch.compile(bank.__call__, backend=backend, dynamic=False)
        arms["compiled"] = lambda: compiled(frames, index)
    else:
        whole = [(compose(*down_up(size, factor)),) for factor in FACTORS]
        dense = SeparableBank(whole, whole)
        arms |= {"whole operators": lambda: dense(frames, index), "copy": frames.clone}
        if clock.device.type == "cuda":
            arms["blear, TF32"] = lambda: _with_tf32(lambda: bank(frames, index))
    results = []
    for name, seconds in clock.compare(arms).items():
        rate = spread([2 * frames.nbytes / took / 1e9 for took in seconds])
        off = None if name == "copy" else float((arms[name]().cpu() - reference).abs().max())
        results.append(
            {
                "batch": batch,
                "channels": channels,
                "size": size,
                "arm": name,
                "gb_s": rate,
                "of_copy": rate["median"] / copy_gb_s,
                "images_s": batch / statistics.median(seconds),
                "off_reference": off,
            }
        )
    return results


def blur(clock: Clock, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Measures images/s of a Gaussian blur with one sigma per sample: kornia's filter, and two matrix products."""
    from kornia.filters import filter2d_separable, get_gaussian_kernel1d

    batch, channels, size = shape
    frames = torch.rand(batch, channels, size, size, device=clock.device)
    sigma = torch.linspace(0.5, 3, batch, device=clock.device)[:, None]
    weights_BK = get_gaussian_kernel1d(25, sigma)
    places = (torch.arange(size)[:, None] + torch.arange(-12, 13)).clamp(0, size - 1).to(clock.device)

    def matrices() -> Tensor:
        empty = weights_BK.new_zeros(batch, size, size)
        each = empty.scatter_add(2, places.expand(batch, -1, -1), weights_BK[:, None].expand(-1, size, -1))[:, None]
        return each @ (frames @ each.mT)

    arms = {"kornia": lambda: filter2d_separable(frames, weights_BK, weights_BK, "replicate"), "matrices": matrices}
    seconds = clock.compare(arms)
    off = float((arms["kornia"]() - arms["matrices"]()).abs().max())
    facts = {"batch": batch, "channels": channels, "size": size, "off_each_other": off}
    return [
        facts | {"arm": arm, "images_s": spread([batch / took for took in taken])} for arm, taken in seconds.items()
    ]


def resized(clock: Clock, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Measures images/s of a down-up by 3 for all samples: two resizes by kornia, and the bank's matrices."""
    from kornia.geometry.transform import resize

    batch, channels, size = shape
    frames = torch.rand(batch, 1, channels, size, size, device=clock.device)
    index, small = torch.zeros(batch, dtype=torch.int64, device=clock.device), size // 3
    bank = down_up_bank([3], size, size)

    def kornia() -> Tensor:
        return resize(resize(frames[:, 0], (small, small), "bicubic", antialias=True), (size, size), "bicubic")

    facts = {"batch": batch, "channels": channels, "size": size}
    seconds = clock.compare({"kornia": kornia, "bank": lambda: bank(frames, index)})
    return [
        facts | {"arm": arm, "images_s": spread([batch / took for took in taken])} for arm, taken in seconds.items()
    ]


def _with_tf32(call: Callable[[], Tensor]) -> Tensor:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return call()
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
