"""JPEG with a gradient. What libjpeg really does is `codec/jpeg`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from blear_corruptions.compression.codec import soft_jpeg
from blear_corruptions.strength_operation import StrengthOperation


class SoftJpeg(StrengthOperation):
    """The codec of Reich et al. (2024), as kornia has it: libjpeg's standard tables, 4:2:0, a quality for each clip.

    Coefficients are rounded with a cubic remainder, for the gradient's sake, and nothing is in whole numbers: it
    differs from libjpeg (docs/chains.md says by how much). Grey frames are coded as three equal channels.
    """

    name = "jpeg_differentiable"
    strengths = ("quality",)
    swept = ("quality", (80, 50, 30, 15, 7))
    channels = (1, 3)

    def change(self, images_NCHW: Tensor, strengths: Mapping[str, Tensor], pattern_N: Tensor, time_N: Tensor) -> Tensor:
        """Decoded images."""
        return soft_jpeg(images_NCHW, strengths["quality"].flatten())
