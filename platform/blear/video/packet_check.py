"""Checks packets that are not decoded for damage."""

from __future__ import annotations

import av

from blear.video.nal_units import CODECS, length_bytes, nal_units

_HOLE = bytes(256)
_TRAILING = 8  # zeros that may follow a unit
_NEVER_INSIDE = (b"\0\0\0", b"\0\0\1", b"\0\0\2")  # prevented by the encoder in H.264 and HEVC
_WITHOUT_HOLES = ("av1", "flv1", "h263", "mpeg4", "msmpeg4v2", "msmpeg4v3", "vp8", "vp9")
"""Codecs whose packets have no long rows of zeros. DNxHD, DV, ProRes, MJPEG of cameras and others pad with them."""


def looks_whole(packet: av.Packet, stream: av.VideoStream) -> bool:
    """Whether a packet has the form that its codec prescribes. Wrong bits in coded pixels are not found.

    H.264 and HEVC: the NAL units fill the packet, and hold no byte sequence that encoders must prevent. Codecs whose
    packets are not padded: there is no hole, that is, 256 zeros in a row, as after a lost block of a disk or of a
    download. Packets of other codecs are not checked.
    """
    data = bytes(packet)
    name = stream.codec_context.codec.canonical_name
    if name not in CODECS:
        return name not in _WITHOUT_HOLES or _HOLE not in data
    try:
        return all(_is_unit(unit) for unit in nal_units(data, length_bytes(stream)))
    except ValueError:
        return False


def _is_unit(unit: bytes) -> bool:
    """Whether bytes can be a NAL unit: the first bit of its header is 0, and no start code is inside."""
    content = unit.rstrip(b"\0")
    if not content or content[0] & 0x80 or len(unit) - len(content) > _TRAILING:
        return False
    return not any(sequence in content for sequence in _NEVER_INSIDE)
