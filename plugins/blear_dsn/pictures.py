"""Resizes pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image


def stretch(image_HWC: np.ndarray, size: int) -> np.ndarray:
    """Resizes to uint8 [size, size, 3], bilinear with antialiasing. The aspect ratio is not kept."""
    if image_HWC.shape[:2] == (size, size):
        return image_HWC
    return np.asarray(Image.fromarray(image_HWC).resize((size, size), Image.Resampling.BILINEAR))
