"""Square face crops: side from box and margin, whole pixels, padded beyond the image (VTT, spec 2.7, 4.2, 5.1)."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from blear.errors import DataError
from blear.imaging import Box, centred_square, face_square
from blear.imaging import crop as crop_box
from blear_vtt.datasets.params import CropParams

Padding = Literal["black", "mean"]
_GRID = 10


def crop_face(image_HWC: np.ndarray, box: Box | None, params: CropParams, padding: Padding, where: str) -> np.ndarray:
    """Crops one face and resizes it to the stored size, uint8 [S, S, C] with S = `params.pixels`.

    Args:
        image_HWC: uint8 [H, W, C].
        box: face box in pixels of the image; None: the image is a face crop, and its central square is used.
        params: size, margin and room of the crop.
        padding: colour of the pixels beyond the image.
        where: place of the face in the data, for messages.

    Raises:
        DataError: the square lies completely outside the image.
    """
    height, width = image_HWC.shape[:2]
    if box is None:
        side = min(height, width)
        square = face_square(Box((width - side) // 2, (height - side) // 2, side, side), 0.0, params.room)
    else:
        square = (_width_square if params.legacy_square else face_square)(box, params.margin, params.room)
    return resize_square(_crop_square(image_HWC, square, padding, where), params.pixels)


def resize_square(image_HWC: np.ndarray, size: int) -> np.ndarray:
    """Resizes to uint8 [size, size, C]: area averaging for smaller sizes, bilinear for larger sizes."""
    if image_HWC.shape[:2] == (size, size):
        return image_HWC
    how = cv2.INTER_AREA if image_HWC.shape[0] > size else cv2.INTER_LINEAR
    return cv2.resize(image_HWC, (size, size), interpolation=how)


def _width_square(box: Box, margin: float, scale: float) -> Box:
    """The square of the published stage 1, whose formula lacks the height: side w + m, m = margin (w + h)."""
    return centred_square(box, box.width + margin * (box.width + box.height), scale)


def _crop_square(image_HWC: np.ndarray, square: Box, padding: Padding, where: str) -> np.ndarray:
    try:
        black = crop_box(image_HWC, square)
    except ValueError as error:
        raise DataError(str(error), where, "check that the box belongs to this image") from error
    height, width = image_HWC.shape[:2]
    left, top, side = int(square.left), int(square.top), int(square.width)
    rows = slice(max(0, -top), min(side, height - top))
    columns = slice(max(0, -left), min(side, width - left))
    if padding == "black":
        return black
    valid = black[rows, columns]
    filled = np.empty_like(black)
    filled[...] = np.rint(_mean_colour(valid))
    filled[rows, columns] = valid
    return filled


def _mean_colour(valid_HWC: np.ndarray) -> np.ndarray:
    """Returns the mean colour [C] of a regular grid of 10 x 10 pixels."""
    rows, columns = (np.linspace(0, size - 1, _GRID).round().astype(int) for size in valid_HWC.shape[:2])
    return valid_HWC[np.ix_(rows, columns)].mean(axis=(0, 1))
