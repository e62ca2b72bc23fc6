"""A batch on any device, clip by clip through a function on the CPU, several clips at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from blear.errors import DataError, PluginError

ClipFunction = Callable[[int, np.ndarray], tuple[np.ndarray, float]]
"""A clip's number in its batch and uint8 [T, H, W, C] -> the changed clip of that shape, and its kbit/s."""


@torch.compiler.disable
def map_clips(frames_BTCHW: Tensor, change: ClipFunction, name: str) -> tuple[Tensor, np.ndarray]:
    """Frames of the same shape, dtype and device, in steps of 1/255; kbit/s of each clip, float64 [B].

    Values are rounded to 8 bits first, what is outside [0, 1] is clipped. Encoders release the interpreter's lock, so
    that threads use all the cores that this process may use: no more than torch does (`OMP_NUM_THREADS`).

    Args:
        frames_BTCHW: float; C is 1 or 3.
        name: full name of the component, for errors.

    Raises:
        PluginError: frames of another number of channels.
        DataError: values that are not finite.
    """
    check_channels(frames_BTCHW.shape[2], name)
    batch, values = len(frames_BTCHW), frames_BTCHW.detach().cpu().float()
    if not values.isfinite().all():  # as 8 bits they would be black
        raise DataError("frames hold values that are not finite", name, "mend the operation before it, or the data")
    pixels = values.clamp(0, 1).mul(255).round().byte()
    clips_BTHWC = pixels.permute(0, 1, 3, 4, 2).contiguous().numpy()
    with ThreadPoolExecutor(min(_cores(), max(1, batch))) as pool:
        done = list(pool.map(change, range(batch), clips_BTHWC))
    shown = torch.from_numpy(np.stack([clip for clip, _ in done])) if done else pixels.permute(0, 1, 3, 4, 2)
    shown_BTCHW = shown.permute(0, 1, 4, 2, 3).contiguous().to(frames_BTCHW.device)
    return shown_BTCHW.float().div(255).to(frames_BTCHW.dtype), np.array([kbps for _, kbps in done], np.float64)


def check_channels(channels: int, name: str) -> None:
    """Refuses frames that are neither grey nor RGB.

    Args:
        name: full name of the component.

    Raises:
        PluginError: another number of channels.
    """
    if channels not in (1, 3):
        raise PluginError(f"codes grey or RGB frames, not {channels} channels", name, "take a dataset with 1 or 3")


def _cores() -> int:
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(mine, torch.get_num_threads())
