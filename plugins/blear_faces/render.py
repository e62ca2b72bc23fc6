"""Tables of numbers in, pictures out."""

from __future__ import annotations

import numpy as np
import torch

from blear_faces.features import paint_features
from blear_faces.head import paint_head
from blear_faces.look import look
from blear_faces.paint import Canvas
from blear_faces.population import Rows

BATCH = 32
"""Faces drawn at once: the layers of so many at 96 px still fit a core's cache."""


def render(rows: Rows, size: int) -> np.ndarray:
    """Draws one RGB face for each row: uint8 [N, size, size, 3].

    A face depends on its own row only, to the bit: never on the batch it is drawn in.
    """
    n = len(rows["scale"])
    out = np.empty((n, size, size, 3), dtype=np.uint8)
    with torch.inference_mode():
        for start in range(0, n, BATCH):
            block = slice(start, start + BATCH)
            canvas = Canvas.blank(look({name: column[block] for name, column in rows.items()}, size), size)
            paint_head(canvas)
            paint_features(canvas)
            pixels = (canvas.image.clamp(0, 1) * 255 + 0.5).floor().to(torch.uint8)
            out[block] = pixels.permute(0, 2, 3, 1).numpy()
    return out
