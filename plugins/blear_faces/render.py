"""Renders faces: a table of numbers in, RGB images out."""

from __future__ import annotations

import numpy as np
import torch

from blear_faces.appearance import appearance_of
from blear_faces.features import paint_features
from blear_faces.head import paint_head
from blear_faces.paint import Canvas
from blear_faces.population import Rows

BATCH = 32
"""Faces that are drawn at once. The layers of 32 faces of 96 px fit the cache of a core."""


def render(rows: Rows, size: int) -> np.ndarray:
    """Draws one RGB face for each of N rows.

    A face depends on its own row only, to the bit, and not on the batch.

    Args:
        rows: the columns of `population.frames_of`.
        size: height and width in pixels.

    Returns:
        uint8 [N, size, size, 3].
    """
    n = len(rows["scale"])
    out = np.empty((n, size, size, 3), dtype=np.uint8)
    with torch.inference_mode():
        for start in range(0, n, BATCH):
            block = slice(start, start + BATCH)
            canvas = Canvas.blank(appearance_of({name: column[block] for name, column in rows.items()}, size), size)
            paint_head(canvas)
            paint_features(canvas)
            pixels = (canvas.image.clamp(0, 1) * 255 + 0.5).floor().to(torch.uint8)
            out[block] = pixels.permute(0, 2, 3, 1).numpy()
    return out
