"""Two implementations of a separable blur, kornia's filter and matrices, and the choice between them on CUDA."""

from __future__ import annotations

from typing import Literal

from kornia.filters import filter2d_separable
from torch import Tensor

ON_CUDA: Literal["kornia", "matrices"] = "kornia"
"""The implementation of blur on CUDA. `python tests/bench/gpu.py` measures both (part `blur`):

| GPU | frames | kornia | matrices |
| --- | --- | --- | --- |
| none measured yet | | | |

Resize and down-up use matrices on every device: kornia's resize has one size for the whole batch.
"""


def uses_kornia(frames: Tensor) -> bool:
    """Returns true if frames on this device are blurred by kornia's filter instead of matrices."""
    return ON_CUDA == "kornia" and frames.device.type == "cuda"


def blur_with_kornia(
    frames_BTCHW: Tensor, rows_BK: Tensor, columns_BK: Tensor, border: Literal["replicate", "reflect"]
) -> Tensor:
    """Filters each clip with its own weights along the height and along the width.

    Args:
        frames_BTCHW: floating point frames.
        rows_BK, columns_BK: weights along the height and along the width, at the distances -r to r in whole pixels.
        border: kornia's name of the padding.

    Returns:
        Frames of the same shape and type. The computation is in float32.
    """
    length = frames_BTCHW.shape[1]
    along, down = (weights.repeat_interleave(length, dim=0) for weights in (columns_BK, rows_BK))
    blurred = filter2d_separable(frames_BTCHW.flatten(0, 1).float(), along, down, border)
    return blurred.view_as(frames_BTCHW).to(frames_BTCHW.dtype)
