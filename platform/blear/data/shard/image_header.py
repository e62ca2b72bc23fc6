"""Reads the header of a PNG or JPEG before it is decoded, so that a forged size never allocates memory."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: None, 4: 2, 6: 4}  # by colour type; a palette may hold grey, RGB or RGBA
_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF markers, ITU-T T.81 table B.1
_JPEG_BARE_MARKERS = frozenset([0x01, *range(0xD0, 0xD9)])  # markers without a segment


@dataclass(frozen=True)
class ImageHeader:
    """Size in pixels, channels and bits per channel that an encoded image declares.

    Attributes:
        kind: `png` or `jpeg`.
        channels: None where only decoding shows it: a palette, a transparent colour, CMYK.
        bits: bits per channel.
        prefix: all bytes up to the end of the header; images with equal prefixes have equal headers.
    """

    kind: str
    width: int
    height: int
    channels: int | None
    bits: int
    prefix: bytes


def read_image_header(data: bytes | memoryview) -> ImageHeader | None:
    """Reads the header of an encoded image; None if the image is neither PNG nor JPEG, or the header is incomplete."""
    data = memoryview(data)
    try:
        if data[: len(_PNG_SIGNATURE)] == _PNG_SIGNATURE:
            return _png(data)
        return _jpeg(data) if data[:2] == b"\xff\xd8" else None
    except (struct.error, IndexError):
        return None


def _png(data: memoryview) -> ImageHeader | None:
    """Reads the chunks up to the first IDAT (PNG specification, section 11.2)."""
    size, name = struct.unpack_from(">I4s", data, 8)
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if (size, name) != (13, b"IHDR") or colour not in _PNG_CHANNELS or not width or not height:
        return None
    channels, offset = _PNG_CHANNELS[colour], 33
    while True:
        size, name = struct.unpack_from(">I4s", data, offset)
        if name == b"IDAT":
            return ImageHeader("png", width, height, channels, bits, bytes(data[:offset]))
        if name == b"tRNS":
            channels = None
        offset += 12 + size


def _jpeg(data: memoryview) -> ImageHeader | None:
    """Reads the segments up to the frame header (ITU-T T.81, section B.2.2)."""
    offset = 2
    while True:
        if data[offset] != 0xFF:
            return None
        marker = data[offset + 1]
        if marker == 0xFF or marker in _JPEG_BARE_MARKERS:
            offset += 1 if marker == 0xFF else 2
            continue
        (size,) = struct.unpack_from(">H", data, offset + 2)
        end = offset + 2 + size
        if marker in _JPEG_FRAME_MARKERS:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, offset + 4)
            if not width or not height or end > len(data):
                return None
            known = channels if channels in (1, 3) else None
            return ImageHeader("jpeg", width, height, known, bits, bytes(data[:end]))
        if marker in (0xD9, 0xDA) or size < 2:
            return None
        offset = end
