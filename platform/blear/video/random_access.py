"""Random access points: packets at which decoding can begin, whatever came before."""

from __future__ import annotations

import av

from blear.video.nal_units import length_bytes, nal_units

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
    name = stream.codec_context.codec.canonical_name
    if name != "h264":
        return name in _BY_FLAG
    try:
        return any(unit[:1] and unit[0] & 31 == _IDR for unit in nal_units(bytes(packet), length_bytes(stream)))
    except ValueError:
        return False
