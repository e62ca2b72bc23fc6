"""JPEG with a gradient. What libjpeg really does is `codec/jpeg`."""

from __future__ import annotations

from collections.abc import Mapping

from kornia.enhance import jpeg_codec_differentiable
from torch import Tensor

from blear_corruptions.measured import Measured


class SoftJpeg(Measured):
    """kornia's codec (Reich et al. 2024): libjpeg's standard tables, 4:2:0, a quality for each clip.

    Coefficients are rounded with a cubic remainder, for the gradient's sake, and nothing is in whole numbers: it
    differs from libjpeg (docs/chains.md says by how much). Grey frames are coded as three equal channels.
    """

    name = "jpeg_differentiable"
    strengths = ("quality",)
    swept = ("quality", (80, 50, 30, 15, 7))
    channels = (1, 3)

    def change(self, images_NCHW: Tensor, strengths: Mapping[str, Tensor], pattern_N: Tensor, time_N: Tensor) -> Tensor:
        """Decoded images."""
        coded = jpeg_codec_differentiable(images_NCHW.expand(-1, 3, -1, -1), strengths["quality"].flatten())
        return coded[:, : images_NCHW.shape[1]]
