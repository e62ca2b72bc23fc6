"""The choice and the crop of a face as `align_dataset_mtcnn.py` of the facenet project does them (spec section 2.3)."""

from __future__ import annotations

import numpy as np

from blear_dsn.pictures import stretch

MARGIN = 50
"""Pixels added on each side of a box: half of the program's option `margin`, 100."""
SIZE = 400
"""Rows and columns of an extracted face."""
WIDTH = 1024
"""Columns of an extracted frame."""

_CENTRE_WEIGHT = 2.0


def select_face(boxes_N4: np.ndarray, height: int, width: int) -> int:
    """Which of several faces is kept: the one with the largest area - 2 x squared distance to the image's centre.

    Args:
        boxes_N4: left, top, right, bottom in pixels, N >= 1.
        height, width: the image's.
    """
    left, top, right, bottom = boxes_N4.T
    area_N = (right - left) * (bottom - top)
    away_N = ((left + right) / 2 - width / 2) ** 2 + ((top + bottom) / 2 - height / 2) ** 2
    return int(np.argmax(area_N - _CENTRE_WEIGHT * away_N))


def box_with_margin(box_4: np.ndarray, height: int, width: int, margin: float = MARGIN) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) with `margin` pixels on each side, cut at the image's border, truncated."""
    left, top, right, bottom = (float(side) for side in box_4)
    return (
        int(max(left - margin, 0)),
        int(max(top - margin, 0)),
        int(min(right + margin, width)),
        int(min(bottom + margin, height)),
    )


def crop_face(image_HWC: np.ndarray, box_4: np.ndarray, size: int = SIZE, margin: float = MARGIN) -> np.ndarray:
    """The face in `box_4` with its margin, stretched to uint8 [size, size, 3] without keeping its proportions.

    Raises:
        ValueError: the box is not finite, or lies outside the image.
    """
    height, width = image_HWC.shape[:2]
    if not np.isfinite(box_4).all():
        raise ValueError("the box is not finite")
    left, top, right, bottom = box_with_margin(box_4, height, width, margin)
    if left >= right or top >= bottom:
        raise ValueError(f"the box lies outside the image of {width}x{height} pixels")
    return stretch(image_HWC[top:bottom, left:right], size)


def display_size(width: int, height: int, pixel_aspect: float = 1.0) -> tuple[int, int]:
    """Width 1024 and the height that the display aspect ratio asks for.

    Args:
        width, height: of the stored frames.
        pixel_aspect: width of a pixel over its height.
    """
    return WIDTH, max(1, round(WIDTH * height / (width * pixel_aspect)))
