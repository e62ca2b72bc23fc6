"""Decodes pictures, videos and arrays of any size and format into clips of one declared shape."""

from __future__ import annotations

import numpy as np

from blear.clips import Fit, decode_frames
from blear.data.shard.clip_codec import BrokenClip
from blear.data.shard.clip_decoder import ClipDecoder
from blear.data.shard.image_header import read_image_header
from blear.errors import DataError

_ORIENTATION_MARKS = (b"Exif\0\0", b"eXIf")


class FittingDecoder(ClipDecoder):
    """Decodes the frames of shards that somebody else wrote.

    A picture that has the declared size and channels is decoded as those of blear's own shards are; all others, videos
    and arrays by `clips.decode_frames`.

    Args:
        shape: declared (frames, height, width, channels); uint8.
        fit: see `clips.Fit`; `exact`: frames of another size are broken.
    """

    def __init__(self, shape: tuple[int, int, int, int], fit: Fit) -> None:
        super().__init__("frames", shape, "uint8", "the dataset's clip")
        self.fit = fit

    def __reduce__(self) -> tuple[type[ClipDecoder], tuple[object, ...]]:
        return FittingDecoder, (self.shape, self.fit)

    def decode_member(self, suffix: str, data: np.ndarray, frames: int, out_THWC: np.ndarray) -> None:
        """Decodes one member; see `ClipDecoder.decode_member`."""
        if self._is_plain(data):
            self._decode_image(suffix, data, frames, out_THWC)
            return
        try:
            out_THWC[:] = decode_frames(data.tobytes(), suffix, self.shape, self.fit)
        except DataError as error:
            raise BrokenClip(f"the {suffix} member does not decode: {error.what}") from None

    def _is_plain(self, data: np.ndarray) -> bool:
        """Whether a picture is PNG or JPEG of the declared size, grey or RGB of 8 bits, and has no orientation."""
        header = read_image_header(data.data)
        if header is None or self.shape[0] != 1 or header.bits != 8:
            return False
        if (header.height, header.width, header.channels) != self.shape[1:]:
            return False
        return not any(
            mark in (header.prefix if header.kind == "jpeg" else data.tobytes()) for mark in _ORIENTATION_MARKS
        )
