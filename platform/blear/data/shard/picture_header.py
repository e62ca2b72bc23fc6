"""What the header of a PNG or JPEG declares, read before anything is decoded: an image bomb never allocates."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: None, 4: 2, 6: 4}  # by colour type; a palette may hold grey, RGB or RGBA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG's SOF markers, ITU-T T.81 table B.1
_BARE = frozenset([0x01, *range(0xD0, 0xD9)])  # markers without a segment


@dataclass(frozen=True)
class Picture:
    """Declared size in pixels, channels and bits of each.

    Attributes:
        kind: `png` or `jpeg`.
        channels: None where only the decoder knows: a palette, a transparent colour, CMYK.
        prefix: the leading bytes that say so; pictures that begin alike declare alike.
    """

    kind: str
    width: int
    height: int
    channels: int | None
    bits: int
    prefix: bytes


def read_picture(data: bytes | memoryview) -> Picture | None:
    """Header of an encoded picture; None if it is neither a PNG nor a JPEG, or its header is not whole."""
    data = memoryview(data)
    try:
        return _png(data) if data[: len(_PNG)] == _PNG else _jpeg(data) if data[:2] == b"\xff\xd8" else None
    except (struct.error, IndexError):
        return None


def _png(data: memoryview) -> Picture | None:
    """The chunks up to the first IDAT (PNG specification, section 11.2)."""
    size, name = struct.unpack_from(">I4s", data, 8)
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if (size, name) != (13, b"IHDR") or colour not in _PNG_CHANNELS or not width or not height:
        return None
    channels, at = _PNG_CHANNELS[colour], 33
    while True:
        size, name = struct.unpack_from(">I4s", data, at)
        if name == b"IDAT":
            return Picture("png", width, height, channels, bits, bytes(data[:at]))
        if name == b"tRNS":
            channels = None
        at += 12 + size


def _jpeg(data: memoryview) -> Picture | None:
    """The segments up to the frame header (ITU-T T.81, section B.2.2)."""
    at = 2
    while True:
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        (size,) = struct.unpack_from(">H", data, at + 2)
        if marker in _FRAMES:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            if not width or not height or at + 2 + size > len(data):
                return None
            known = channels if channels in (1, 3) else None
            return Picture("jpeg", width, height, known, bits, bytes(data[: at + 2 + size]))
        if marker in (0xD9, 0xDA) or size < 2:
            return None
        at += 2 + size
