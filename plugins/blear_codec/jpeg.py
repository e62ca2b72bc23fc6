"""The degradation by JPEG, each frame alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws
from blear_codec.clips import each_clip
from blear_codec.mixture import Mixture
from blear_codec.params import JpegParams

_LEVELS = (90, 70, 50, 30, 20, 10, 5)


@dataclass(frozen=True)
class Compressed:
    """A picture through JPEG: uint8 [H, W, C], and the bits of its file."""

    picture_HWC: np.ndarray
    bits: int


def compress(picture_HWC: np.ndarray, quality: int) -> Compressed:
    """One picture, uint8, grey (C = 1) or RGB, through libjpeg: chroma at half the size, BT.601 in 0..255."""
    rgb = picture_HWC.shape[-1] == 3
    there = cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2BGR) if rgb else picture_HWC[..., 0]
    _, file = cv2.imencode(".jpg", there, [cv2.IMWRITE_JPEG_QUALITY, quality])
    back: Any = cv2.imdecode(file, cv2.IMREAD_COLOR if rgb else cv2.IMREAD_GRAYSCALE)
    shown = cv2.cvtColor(back, cv2.COLOR_BGR2RGB) if rgb else back[..., None]
    return Compressed(shown, 8 * file.size)


class Jpeg:
    """Each frame as a JPEG file of a quality that is drawn for its clip."""

    def __init__(self, params: JpegParams, context: BuildContext) -> None:
        self._frozen, self._mixture = params.frozen, Mixture(params.quality)

    def draw(self, keys: DrawKeys) -> Draws:
        """`quality`: float32 [B], whole numbers."""
        keys = keys.frozen() if self._frozen else keys
        return {"quality": self._mixture.draw(keys.uniform()[:, 0])}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Frames of the same shape, dtype and device; in steps of 1/255."""
        qualities = draws["quality"].tolist()

        def change(number: int, clip_THWC: np.ndarray) -> np.ndarray:
            return np.stack([compress(picture, round(qualities[number])).picture_HWC for picture in clip_THWC])

        return each_clip(frames_BTCHW, change, "codec/jpeg")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Qualities, mildest first."""
        return [{"quality": quality} for quality in _LEVELS]
