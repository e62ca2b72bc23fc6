"""Copies of decoded samples from memory-mapped shards into a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_SMALL_BYTES = 1 << 14  # of a sample: below, NumPy's indexing is faster than a Python loop, though it copies twice

CopyJob = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""(stored [N, T, H, W, C], rows in it [R], output [B, T, H, W, C], positions in the output [R])."""


def copy_samples(job: CopyJob, frames_BT: np.ndarray | None) -> None:
    """Copies output[positions] = stored[rows], by the fastest method for the rows.

    Args:
        frames_BT: indices of the frames to copy, for each position of the output; None: all frames.
    """
    stored, rows, output, positions = job
    if frames_BT is not None:
        _copy_frames(stored, rows, output, positions, frames_BT)
        return
    count = len(rows)
    if (rows[1:] - rows[:-1] == 1).all() and (positions[1:] - positions[:-1] == 1).all():
        output[positions[0] : positions[0] + count] = stored[rows[0] : rows[0] + count]
    elif count > 1 and stored[0].nbytes < _SMALL_BYTES:
        output[positions] = stored[rows]
    else:
        for position, row in zip(positions.tolist(), rows.tolist(), strict=True):
            output[position] = stored[row]


def _copy_frames(
    stored: np.ndarray, rows: np.ndarray, output: np.ndarray, positions: np.ndarray, frames_BT: np.ndarray
) -> None:
    """Copies the selected frames of each row; other frames are not read."""
    for position, row in zip(positions.tolist(), rows.tolist(), strict=True):
        take_frames(stored[row], frames_BT[position], output[position])


def take_frames(clip_THWC: np.ndarray, frames_S: np.ndarray, output_SHWC: np.ndarray) -> None:
    """Copies the selected frames of a clip."""
    np.take(clip_THWC, frames_S, axis=0, out=output_SHWC, mode="clip")  # the other modes copy through a buffer


def channels_first(clips_BTHWC: Tensor) -> Tensor:
    """A view of the same memory as [B, T, C, H, W]."""
    batch, length, height, width, channels = clips_BTHWC.shape
    if channels == 1:
        return clips_BTHWC.view(batch, length, 1, height, width)
    return clips_BTHWC.permute(0, 1, 4, 2, 3)
