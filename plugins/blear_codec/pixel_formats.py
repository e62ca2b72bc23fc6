"""Converts RGB or grey pictures of any size to the encoder's pixel format, and back.

swscale does the conversion: BT.601; luma in 16..235 and chroma in 16..240, for Motion JPEG both in 0..255; 4:2:0
chroma, bicubic. Pictures of odd size, or below the encoder's minimum size, are padded at the right and bottom by
repeating the last column and row. The padding is removed after decoding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from blear_codec.codecs import Codec


class PixelConverter:
    """Converter of the pictures of one clip. Not thread-safe.

    Args:
        codec: the codec, which defines pixel format and minimum size.
        shape_HWC: shape of a picture; C is 1 or 3.
    """

    def __init__(self, codec: Codec, shape_HWC: tuple[int, ...]) -> None:
        from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

        self._height, self._width, channels = shape_HWC
        self.height, self.width = (_even(max(side, codec.min_side)) for side in (self._height, self._width))
        self._format = "rgb24" if channels == 3 else "gray"
        self._pixels = codec.pixels
        self._there, self._back = VideoReformatter(), VideoReformatter()
        exact = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
        coded_range = ColorRange.JPEG if codec.pixels == "yuvj420p" else ColorRange.MPEG
        same: dict[str, Any] = {"interpolation": exact | Interpolation.BITEXACT, "threads": 1}
        colours = {"src_colorspace": Colorspace.ITU601, "dst_colorspace": Colorspace.ITU601}
        self._coding = same | colours | {"src_color_range": ColorRange.JPEG, "dst_color_range": coded_range}
        self._showing = same | colours | {"src_color_range": coded_range, "dst_color_range": ColorRange.JPEG}

    def to_frame(self, picture_HWC: np.ndarray) -> Any:
        """Converts uint8 [H, W, C] to an `av.VideoFrame` of `height` x `width`."""
        from av import VideoFrame

        margin = ((0, self.height - self._height), (0, self.width - self._width), (0, 0))
        whole = np.ascontiguousarray(np.pad(picture_HWC, margin, mode="edge"))
        return self._there.reformat(
            VideoFrame.from_ndarray(whole, format=self._format), format=self._pixels, **self._coding
        )

    def to_picture(self, frame: Any) -> np.ndarray:
        """Converts a decoded frame to uint8 [H, W, C]."""
        whole = self._back.reformat(frame, format=self._format, **self._showing).to_ndarray()
        return whole.reshape(self.height, self.width, -1)[: self._height, : self._width]


def _even(side: int) -> int:
    return side + side % 2
