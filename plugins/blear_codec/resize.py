"""Downscaling before the encoder and upscaling after the decoder: antialiased bicubic."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn.functional import interpolate


def encoder_side(side: int, shrink: float) -> int:
    """Returns the height or width of the encoded video: the even number nearest to side / shrink, at least 2.

    Ties are rounded up. With shrink 1 the side is returned unchanged, even if it is odd.
    """
    return side if shrink == 1 else max(2, 2 * math.floor(side / shrink / 2 + 0.5 + 1e-6))


def resized(clip_THWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes uint8 frames with torch's antialiased bicubic filter (a = -0.5), clipped and rounded to 8 bits."""
    if clip_THWC.shape[1:3] == (height, width):
        return clip_THWC
    frames_TCHW = torch.from_numpy(clip_THWC).permute(0, 3, 1, 2).float()
    out = interpolate(frames_TCHW, size=(height, width), mode="bicubic", antialias=True, align_corners=False)
    return np.ascontiguousarray(out.clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy())
