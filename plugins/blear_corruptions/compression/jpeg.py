"""Differentiable JPEG. The component `codec/jpeg` is libjpeg itself."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from blear_corruptions.compression.codec import soft_jpeg
from blear_corruptions.strength_operation import StrengthOperation


class SoftJpeg(StrengthOperation):
    """The codec of Reich et al. (2024) as in kornia: libjpeg's standard tables, 4:2:0, one quality for each clip.

    Coefficients are rounded with a cubic remainder, which carries the gradient, and no step uses whole numbers. The
    result therefore differs from libjpeg (docs/chains.md has the difference). Grey frames are encoded as three equal
    channels.
    """

    name = "jpeg_differentiable"
    strengths = ("quality",)
    swept = ("quality", (80, 50, 30, 15, 7))
    channels = (1, 3)

    def change(self, images_NCHW: Tensor, strengths: Mapping[str, Tensor], pattern_N: Tensor, time_N: Tensor) -> Tensor:
        """Returns the decoded images."""
        return soft_jpeg(images_NCHW, strengths["quality"].flatten())
