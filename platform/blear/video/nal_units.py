"""NAL units of H.264 and HEVC packets."""

from __future__ import annotations

from collections.abc import Iterator

import av

CODECS = ("h264", "hevc")


def length_bytes(stream: av.VideoStream) -> int:
    """Bytes of the length before each NAL unit of a stream of `CODECS`; 0: the units follow start codes."""
    context = stream.codec_context
    extradata = context.extradata or b""
    place = 4 if context.codec.canonical_name == "h264" else 21
    return (extradata[place] & 3) + 1 if len(extradata) > place and extradata[0] == 1 else 0


def nal_units(data: bytes, length: int) -> Iterator[bytes]:
    """NAL units of a packet, without lengths and start codes; zeros may follow a unit before a start code.

    Args:
        length: see `length_bytes`.

    Raises:
        ValueError: the units do not fill the packet; those before this place are yielded.
    """
    position = 0
    if length:
        while position < len(data):
            end = position + length + int.from_bytes(data[position : position + length], "big")
            if end == position + length or end > len(data):
                raise ValueError
            yield data[position + length : end]
            position = end
        return
    before, *units = data.split(b"\0\0\1")
    if before.strip(b"\0"):
        raise ValueError
    yield from units
