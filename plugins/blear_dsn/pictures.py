"""Pictures of faces as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from blear.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")


def read_rgb(path: Path, where: str) -> np.ndarray:
    """RGB uint8 [H, W, 3].

    Args:
        path: the picture.
        where: the row that names it, for messages.

    Raises:
        DataError: missing or damaged.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise DataError(f"the picture {path} is missing", where, "unpack the data whole, or mend the list") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises SyntaxError for broken PNG chunks
        raise DataError(f"the picture {path} cannot be read: {error}", where, "fetch this file again") from error


def stretch(image_HWC: np.ndarray, size: int) -> np.ndarray:
    """uint8 [size, size, 3], bilinear with antialiasing; each side is scaled for itself."""
    if image_HWC.shape[:2] == (size, size):
        return image_HWC
    return np.asarray(Image.fromarray(image_HWC).resize((size, size), Image.Resampling.BILINEAR))
