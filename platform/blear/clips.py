"""Public functions that bring pictures and videos of any size to clips of one size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from blear.video import read_video

Fit = Literal["crop", "stretch", "pad"]
"""How a picture gets another shape: its centre is cut out, its sides are scaled apart, or black borders are added."""
_MAX_KEPT = 4096  # frames of a video in memory; a longer video is thinned out evenly while it is read


def fit_picture(image: np.ndarray, height: int, width: int, fit: Fit = "crop") -> np.ndarray:
    """Resizes a picture to height x width with Pillow's antialiased bicubic interpolation.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        height: rows of the result.
        width: columns of the result.
        fit: `crop` cuts the largest centred rectangle of the wanted shape out of the picture and resizes it; `stretch`
            resizes the whole picture; `pad` resizes the whole picture with its aspect ratio, between black borders.

    Returns:
        uint8 [height, width, 1 or 3].
    """
    from PIL import Image, ImageOps

    picture, size, bicubic = Image.fromarray(image), (width, height), Image.Resampling.BICUBIC
    if fit == "crop":
        picture = ImageOps.fit(picture, size, bicubic)
    elif fit == "pad":
        picture = ImageOps.pad(picture, size, bicubic)
    else:
        picture = picture.resize(size, bicubic)
    return np.array(picture).reshape(height, width, -1)


def to_grey(image_HWC: np.ndarray) -> np.ndarray:
    """Converts a uint8 RGB image [H, W, 3] to BT.601 luma in full range, uint8 [H, W], as `read_picture` does."""
    from PIL import Image

    return np.array(Image.fromarray(image_HWC).convert("L"))


def read_video_clip(video: Path, length: int, transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Reads `length` evenly spaced frames of a video, the first and the last one included.

    A video with fewer frames repeats some of them. Of a video with more than 4096 frames, the nearest frames of an even
    subset are used.

    Args:
        video: the file.
        length: frames of the clip.
        transform: applied to each RGB frame uint8 [H, W, 3] before it is kept.

    Returns:
        [length, ...], the transformed frames.

    Raises:
        DataError: the file is missing, damaged or no video.
    """
    kept: list[np.ndarray] = []
    every = 1
    for number, frame in enumerate(read_video(video)):
        if number % every:
            continue
        kept.append(transform(frame.image_HWC))
        if len(kept) > _MAX_KEPT:
            kept, every = kept[::2], 2 * every
    chosen = np.linspace(0, len(kept) - 1, length).round().astype(int)
    return np.stack([kept[index] for index in chosen])
