"""A batch on any device, clip by clip through a function on the CPU, several clips at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from blear.errors import PluginError


@torch.compiler.disable
def each_clip(frames_BTCHW: Tensor, change: Callable[[int, np.ndarray], np.ndarray], name: str) -> Tensor:
    """Frames of the same shape, dtype and device.

    Values are rounded to 8 bits first, what is outside [0, 1] is clipped. Encoders release the interpreter's lock, so
    that threads use all the cores that this process may use.

    Args:
        frames_BTCHW: float; C is 1 or 3.
        change: called with a clip's number in the batch and uint8 [T, H, W, C]; gives the same shape.
        name: full name of the component, for errors.

    Raises:
        PluginError: frames of another number of channels.
    """
    batch, _, channels = frames_BTCHW.shape[:3]
    if channels not in (1, 3):
        raise PluginError(f"codes grey or RGB frames, not {channels} channels", name, "take a dataset with 1 or 3")
    pixels = frames_BTCHW.detach().cpu().float().clamp(0, 1).mul(255).round().byte()
    clips_BTHWC = pixels.permute(0, 1, 3, 4, 2).contiguous().numpy()
    with ThreadPoolExecutor(min(_cores(), max(1, batch))) as pool:
        done = list(pool.map(change, range(batch), clips_BTHWC))
    shown = torch.from_numpy(np.stack(done)) if done else pixels.permute(0, 1, 3, 4, 2)
    shown_BTCHW = shown.permute(0, 1, 4, 2, 3).contiguous().to(frames_BTCHW.device)
    return shown_BTCHW.float().div(255).to(frames_BTCHW.dtype)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
