"""Framing: how a face is cut out of a frame, so that it looks like the faces of the training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blear.imaging import Box, face_square

MARGIN = 0.5


@dataclass(frozen=True)
class Framing:
    """Crop of a face of w x h pixels out of a frame: a square about the centre of its box.

    The side of the square is crop_scale * sqrt((w + m)(h + m)) with m = margin * (w + h).

    Attributes:
        margin: share of the box's width plus height that is added to each side.
        crop_scale: factor of the side.
    """

    margin: float = MARGIN
    crop_scale: float = 1.0

    def square(self, box: Box) -> Box:
        """The square of a face, in whole pixels; parts of it may lie outside the frame."""
        return face_square(box, self.margin, self.crop_scale)


def stated_framing(params: Mapping[str, Any]) -> dict[str, float]:
    """The fields of `Framing` that a dataset's parameters `margin` and `room` (the crop scale) state."""
    names = {"margin": "margin", "room": "crop_scale"}
    return {ours: float(value) for key, ours in names.items() if isinstance(value := params.get(key), int | float)}
