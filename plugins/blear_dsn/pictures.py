"""Reads and resizes pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from blear.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")


def read_rgb(path: Path, where: str) -> np.ndarray:
    """Reads a picture as RGB uint8 [H, W, 3].

    Args:
        path: the picture file.
        where: the row that names the file, for messages.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise DataError(f"the picture {path} is missing", where, "unpack all of the data, or fix the list") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises SyntaxError for damaged PNG chunks
        raise DataError(f"the picture {path} cannot be read: {error}", where, "fetch this file again") from error


def stretch(image_HWC: np.ndarray, size: int) -> np.ndarray:
    """Resizes to uint8 [size, size, 3], bilinear with antialiasing. The aspect ratio is not kept."""
    if image_HWC.shape[:2] == (size, size):
        return image_HWC
    return np.asarray(Image.fromarray(image_HWC).resize((size, size), Image.Resampling.BILINEAR))
