"""JPEG compression of each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws
from blear_codec.cpu_batches import check_channels, map_clips
from blear_codec.mixture import ValueMixture
from blear_codec.params import JpegParams

_LEVELS = (90, 70, 50, 30, 20, 10, 5)


@dataclass(frozen=True)
class JpegPicture:
    """A decoded JPEG picture, uint8 [H, W, C], and the size of its file in bits."""

    picture_HWC: np.ndarray
    bits: int


def jpeg_roundtrip(picture_HWC: np.ndarray, quality: int) -> JpegPicture:
    """Encodes and decodes a picture with libjpeg: uint8, grey (C = 1) or RGB; 4:2:0 chroma, BT.601 in 0..255."""
    rgb = picture_HWC.shape[-1] == 3
    there = cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2BGR) if rgb else picture_HWC[..., 0]
    _, file = cv2.imencode(".jpg", there, [cv2.IMWRITE_JPEG_QUALITY, quality])
    back: Any = cv2.imdecode(file, cv2.IMREAD_COLOR if rgb else cv2.IMREAD_GRAYSCALE)
    shown = cv2.cvtColor(back, cv2.COLOR_BGR2RGB) if rgb else back[..., None]
    return JpegPicture(shown, 8 * file.size)


class Jpeg:
    """Degradation that compresses each frame as a JPEG file. The quality is drawn once per clip.

    Raises:
        PluginError: the clips have neither 1 nor 3 channels.
    """

    on_cpu = True

    def __init__(self, params: JpegParams, context: BuildContext) -> None:
        if context.clip is not None:
            check_channels(context.clip.channels, "codec/jpeg")
        self._params, self._mixture = params, ValueMixture(params.quality)

    def draw(self, keys: DrawKeys) -> Draws:
        """`quality`: float32 [B], integers."""
        keys = keys.frozen() if self._params.frozen else keys
        return {"quality": self._mixture.draw(keys.uniform()[:, 0])}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape, dtype and device, multiples of 1/255."""
        return self.apply_coded(frames_BTCHW, draws)[0]

    def apply_coded(self, frames_BTCHW: Tensor, draws: Draws) -> tuple[Tensor, np.ndarray]:
        """Returns the frames of `apply`, and the kbit/s of each clip, float64 [B]: `fps` files a second."""
        qualities = draws["quality"].tolist()

        def change(number: int, clip_THWC: np.ndarray) -> tuple[np.ndarray, float]:
            files = [jpeg_roundtrip(picture, round(qualities[number])) for picture in clip_THWC]
            kbps = sum(file.bits for file in files) * self._params.fps / len(files) / 1000
            return np.stack([file.picture_HWC for file in files]), kbps

        return map_clips(frames_BTCHW, change, "codec/jpeg")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Qualities, mildest first."""
        return [{"quality": quality} for quality in _LEVELS]
