"""Who decodes a picture: kornia-rs grey and RGB of 8 bits, OpenCV whatever else there is, and what kornia-rs refuses.

kornia-rs is 2 to 4 times as fast with PNG and a fifth faster with colour JPEG, its pixels are the same, and it refuses
all damage that OpenCV refuses: each PNG chunk has its CRC, and the chunks behind the pixels, which it does not read,
are looked at here. A PNG whose CRCs are right over data that contradict their own Adler checksum has no damage, its
encoder was wrong: kornia-rs takes it. The bytes alone say who decodes. It keeps Python's lock meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import cv2
import kornia_rs.io
import numpy as np

from blear.data.shard.picture_header import Picture

_END = b"\0\0\0\0IEND\xaeB`\x82"
_COLOUR = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_jpeg = kornia_rs.io.ImageDecoder()


def quick_decoder(header: Picture) -> Callable[[bytes], np.ndarray] | None:
    """kornia-rs for pictures of this header, to uint8 [rows, width, channels]; None if it is not for them.

    What it refuses raises an `Exception`, of no narrower type: ask `decode_picture` then.
    """
    if header.bits != 8 or header.channels not in (1, 3):
        return None
    if header.kind == "jpeg":
        return _jpeg.decode if header.channels == 3 else _jpeg.decode_gray8
    decode, shape, start = kornia_rs.io.decode_image_png_u8, (header.height, header.width), len(header.prefix)
    mode = "rgb" if header.channels == 3 else "mono"

    def png(data: bytes) -> np.ndarray:
        at = start
        while data[at + 4 : at + 8] == b"IDAT":
            at += 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at : at + 12] != _END:
            raise ValueError("something else than the end follows the pixels")
        picture: np.ndarray = decode(data, shape, mode)
        return picture

    return png


def decode_picture(data: np.ndarray, header: Picture) -> np.ndarray | None:
    """The picture [rows, width, channels], grey or RGB where it is one of those; None if it does not decode."""
    quick = quick_decoder(header)
    if quick is not None:
        with contextlib.suppress(Exception):
            return quick(data.tobytes())
    colour = header.bits == 8 and header.channels == 3
    picture = cv2.imdecode(data, _COLOUR if colour else cv2.IMREAD_UNCHANGED)
    if picture is None or colour:
        return picture
    return picture[..., None] if picture.ndim == 2 else picture[..., ::-1]  # OpenCV: BGR
