"""Components of differentiable compression."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.compression.params import SoftJpegParams


def components() -> list[Component]:
    """Returns one component for each operation."""
    return [
        Component(
            "jpeg_differentiable",
            "Differentiable JPEG with a quality; codec/jpeg is libjpeg itself",
            SoftJpegParams,
            "blear_corruptions.compression.jpeg:SoftJpeg",
            examples=({}, {"quality": [10, 90]}),
        ),
    ]
