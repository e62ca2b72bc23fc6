"""Compression with a gradient: the components."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.compression.params import SoftJpegParams


def components() -> list[Component]:
    """One for each operation."""
    return [
        Component(
            "jpeg_differentiable",
            "JPEG of a quality, with a gradient; codec/jpeg is the real one",
            SoftJpegParams,
            "blear_corruptions.compression.jpeg:SoftJpeg",
            examples=({}, {"quality": [10, 90]}),
        ),
    ]
