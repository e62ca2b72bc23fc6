"""Selects and crops a face as `align_dataset_mtcnn.py` of the facenet project does (spec section 2.3)."""

from __future__ import annotations

import numpy as np

from blear_dsn.pictures import stretch

MARGIN = 50
"""Margin on each side of a box in pixels: half of that program's option `margin`, 100."""
SIZE = 400
"""Height and width of a cropped face in pixels."""
WIDTH = 1024
"""Width of a video frame before detection, in pixels."""

_CENTRE_WEIGHT = 2.0


def select_face(boxes_N4: np.ndarray, height: int, width: int) -> int:
    """Selects one of several faces: the largest value of area - 2 x squared distance from the image centre.

    Args:
        boxes_N4: left, top, right, bottom in pixels, N >= 1.
        height, width: size of the image.

    Returns:
        Index of the face.
    """
    left, top, right, bottom = boxes_N4.T
    area_N = (right - left) * (bottom - top)
    away_N = ((left + right) / 2 - width / 2) ** 2 + ((top + bottom) / 2 - height / 2) ** 2
    return int(np.argmax(area_N - _CENTRE_WEIGHT * away_N))


def box_with_margin(box_4: np.ndarray, height: int, width: int, margin: float = MARGIN) -> tuple[int, int, int, int]:
    """Adds `margin` pixels on each side and clips to the image: left, top, right, bottom (exclusive), truncated."""
    left, top, right, bottom = (float(side) for side in box_4)
    return (
        int(max(left - margin, 0)),
        int(max(top - margin, 0)),
        int(min(right + margin, width)),
        int(min(bottom + margin, height)),
    )


def crop_face(image_HWC: np.ndarray, box_4: np.ndarray, size: int = SIZE, margin: float = MARGIN) -> np.ndarray:
    """Crops the box with its margin and resizes it to uint8 [size, size, 3]. The aspect ratio is not kept.

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
    """Returns the width 1024 and the height of the same display aspect ratio.

    Args:
        width, height: size of the stored frames in pixels.
        pixel_aspect: width of a pixel divided by its height.
    """
    return WIDTH, max(1, round(WIDTH * height / (width * pixel_aspect)))
