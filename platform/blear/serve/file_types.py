"""Recognises pictures and videos by their first bytes.

A decoder guesses the format of a file by its content. FFmpeg would also accept a playlist or a list of files, which
make it open other files; their first bytes are none of these.
"""

from __future__ import annotations

import struct
from typing import Literal

_VIDEO_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free")
_TS_PACKET = 188


def file_type(data: bytes) -> Literal["picture", "video"] | None:
    """The type of a file's content; None: no format that is accepted.

    Pictures: JPEG, PNG, WebP, BMP. Videos: MP4, MOV, Matroska, WebM, AVI, MPEG, Ogg, FLV, animated GIF and WebP.
    """
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or _is_bmp(data):
        return "picture"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "video" if data[12:16] == b"VP8X" and len(data) > 20 and data[20] & 2 else "picture"
    if data.startswith((b"GIF87a", b"GIF89a", b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"OggS", b"FLV\1")):
        return "video"
    if data[4:8] in _VIDEO_BOXES or (data.startswith(b"RIFF") and data[8:12] == b"AVI "):
        return "video"
    is_stream = len(data) > _TS_PACKET and data[0] == data[_TS_PACKET] == 0x47
    return "video" if is_stream else None


def _is_bmp(data: bytes) -> bool:
    return (
        data.startswith(b"BM")
        and len(data) >= 18
        and struct.unpack_from("<I", data, 14)[0] in (12, 40, 52, 56, 108, 124)
    )
