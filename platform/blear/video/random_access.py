"""Random access points: packets at which decoding can begin, whatever came before."""

from __future__ import annotations

from collections.abc import Iterator

import av

_BY_FLAG = frozenset(("av1", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "vp8", "vp9"))
"""Codecs in which no frame that is displayed after a key frame refers to a frame before it."""
_IDR = 5  # type of a NAL unit of H.264


def is_random_access(packet: av.Packet, stream: av.VideoStream) -> bool:
    """Whether the frame of a packet and all frames displayed after it are independent of the packets before it.

    H.264 also has key frames that are no random access point by themselves; here, only IDR frames count. Codecs other
    than H.264 and those of `_BY_FLAG` have none here.
    """
    if not packet.is_keyframe:
        return False
    context = stream.codec_context
    if context.codec.canonical_name != "h264":
        return context.codec.canonical_name in _BY_FLAG
    extradata = context.extradata or b""
    length = (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0
    return any(kind == _IDR for kind in _nal_types(bytes(packet), length))


def _nal_types(data: bytes, length: int) -> Iterator[int]:
    """Types of the NAL units of a packet of H.264.

    Args:
        length: bytes of the length before each unit; 0: start codes.
    """
    if not length:
        position = data.find(b"\0\0\1")
        while 0 <= position < len(data) - 3:
            yield data[position + 3] & 31
            position = data.find(b"\0\0\1", position + 3)
        return
    position = 0
    while position + length < len(data):
        yield data[position + length] & 31
        position += length + int.from_bytes(data[position : position + length], "big")
