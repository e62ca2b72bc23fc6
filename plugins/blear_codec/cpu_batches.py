"""Applies a CPU function to each clip of a batch on any device, with several clips in parallel."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from blear.contracts import not_compiled
from blear.errors import DataError, PluginError

ClipFunction = Callable[[int, np.ndarray], tuple[np.ndarray, float]]
"""(index of the clip in the batch, uint8 [T, H, W, C]) -> (changed clip of the same shape, kbit/s)."""


@not_compiled
def map_clips(frames_BTCHW: Tensor, change: ClipFunction, name: str) -> tuple[Tensor, np.ndarray]:
    """Applies `change` to each clip of a batch.

    Values are clipped to [0, 1] and rounded to 8 bits before. Clips are processed by threads, since encoders release
    the GIL: at most one thread per available core, and at most as many as torch uses (`OMP_NUM_THREADS`).

    Args:
        frames_BTCHW: float; C is 1 or 3.
        change: the function of one clip.
        name: full name of the component, for errors.

    Returns:
        Frames of the same shape, dtype and device, multiples of 1/255; and the kbit/s of each clip, float64 [B].

    Raises:
        PluginError: the frames have neither 1 nor 3 channels.
        DataError: a value is not finite.
    """
    check_channels(frames_BTCHW.shape[2], name)
    batch, values = len(frames_BTCHW), frames_BTCHW.detach().cpu().float()
    if not values.isfinite().all():  # NaN would become 0 in 8 bits
        raise DataError("frames hold values that are not finite", name, "fix the preceding operation, or the data")
    pixels = values.clamp(0, 1).mul(255).round().byte()
    clips_BTHWC = pixels.permute(0, 1, 3, 4, 2).contiguous().numpy()
    with ThreadPoolExecutor(min(_cores(), max(1, batch))) as pool:
        done = list(pool.map(change, range(batch), clips_BTHWC))
    shown = torch.from_numpy(np.stack([clip for clip, _ in done])) if done else pixels.permute(0, 1, 3, 4, 2)
    shown_BTCHW = shown.permute(0, 1, 4, 2, 3).contiguous().to(frames_BTCHW.device)
    return shown_BTCHW.float().div(255).to(frames_BTCHW.dtype), np.array([kbps for _, kbps in done], np.float64)


def check_channels(channels: int, name: str) -> None:
    """Checks that frames are grey or RGB.

    Args:
        channels: number of channels of the frames.
        name: full name of the component.

    Raises:
        PluginError: the number is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise PluginError(f"codes grey or RGB frames, not {channels} channels", name, "take a dataset with 1 or 3")


def _cores() -> int:
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(mine, torch.get_num_threads())
