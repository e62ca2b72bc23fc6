"""One clip through a real encoder and decoder, and the bits that it took."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from blear.errors import PluginError
from blear_codec.codecs import CODECS, Codec, Settings, options_of, require_codec
from blear_codec.pixel_formats import PixelConverter
from blear_codec.resize import encoder_side, resized

_ENCODER_TEXT = re.compile(
    rb"\x00{2,3}\x01\x06\x05.*?(?=\x00{2,3}\x01|\Z)", re.DOTALL
)  # H.264: SEI, unregistered user data


@dataclass(frozen=True)
class TranscodedClip:
    """What a receiver sees of a clip.

    Attributes:
        frames_THWC: uint8, of the clip's shape.
        bits: payload that was sent: all packets, lost ones too, without a container.
        kbps: `bits` over the clip's duration, in kilobits (1000) per second.
    """

    frames_THWC: np.ndarray
    bits: int
    kbps: float


def transcode(
    clip_THWC: np.ndarray,
    settings: Settings,
    dropped_T: np.ndarray | None = None,
    lost_T: np.ndarray | None = None,
) -> TranscodedClip:
    """Encodes and decodes a clip, smaller in between where the settings say so: the bits are those of the small video.

    A frame that is not there is shown as the one before it; what comes before the first decoded frame is black. The
    same clip and settings always give the same result: encoder and decoder run on one thread.

    Args:
        clip_THWC: uint8; C is 1 (grey) or 3 (RGB).
        settings: codec and rate.
        dropped_T: bool; frames that the sender leaves out before encoding. The first one is never left out.
        lost_T: bool; frames whose packets are lost on the way; the decoder conceals what it can. A packet here is one
            coded frame.

    Raises:
        PluginError: this FFmpeg lacks the codec, or its encoder refuses the clip or the settings, or its
            decoder gives less than was encoded and not lost.
    """
    codec = CODECS[settings.codec]
    length = len(clip_THWC)
    dropped = np.zeros(length, bool) if dropped_T is None else dropped_T
    lost = np.zeros(length, bool) if lost_T is None else lost_T
    kept = [index for index in range(length) if index == 0 or not dropped[index]]
    height, width = clip_THWC.shape[1:3]
    small_THWC = resized(clip_THWC, encoder_side(height, settings.shrink), encoder_side(width, settings.shrink))
    converter = PixelConverter(codec, small_THWC.shape[1:])
    packets = _encode([(index, small_THWC[index]) for index in kept], codec, settings, converter)
    bits = 8 * sum(packet.size for packet in packets)
    frames = _decode([packet for packet in packets if not lost[packet.pts]], codec)
    if not lost.any() and len(frames) < len(kept):
        what = f"{codec.decoder} gave {len(frames)} of {len(kept)} frames of a stream of which nothing was lost"
        raise PluginError(what, f"codec/{codec.name}", f"choose other settings than {settings}")
    shown_THWC = np.zeros_like(small_THWC)
    for index in range(length):
        if index in frames:
            shown_THWC[index] = converter.to_picture(frames[index])
        elif index:
            shown_THWC[index] = shown_THWC[index - 1]
    return TranscodedClip(resized(shown_THWC, height, width), bits, bits * settings.fps / length / 1000)


def _encode(
    pictures: Sequence[tuple[int, np.ndarray]], codec: Codec, settings: Settings, converter: PixelConverter
) -> list[Any]:
    """The packets; `pts` of each is the number of its frame."""
    import av

    require_codec(codec)
    encoder: Any = av.CodecContext.create(codec.encoder, "w")
    encoder.width, encoder.height, encoder.pix_fmt = converter.width, converter.height, codec.pixels
    encoder.framerate = Fraction(settings.fps).limit_denominator(1001)
    encoder.time_base = 1 / encoder.framerate
    encoder.thread_count = 1
    encoder.options = options_of(settings)
    packets = []
    try:
        for index, picture_HWC in pictures:
            frame = converter.to_frame(picture_HWC)
            frame.pts, frame.time_base = index, encoder.time_base
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
    except av.FFmpegError as error:
        size = f"{converter.width} x {converter.height}"
        what = f"{codec.encoder} refuses frames of {size} with {settings}: {error}"
        raise PluginError(what, f"codec/{codec.name}", "change its parameters or the size of the frames") from error
    return [_without_encoder_text(packet) for packet in packets] if codec.name == "h264" else packets


def _without_encoder_text(packet: Any) -> Any:
    """The packet without the 700 bytes that x264 says of itself, which can be more than a small clip's pictures."""
    from av import Packet

    data = bytes(packet)
    bare = _ENCODER_TEXT.sub(b"", data)
    if len(bare) == len(data):
        return packet
    shorter = Packet(bare)
    shorter.pts, shorter.dts, shorter.time_base = packet.pts, packet.dts, packet.time_base
    return shorter


def _decode(packets: Sequence[Any], codec: Codec) -> dict[int, Any]:
    """Number of a frame -> frame, for those that the decoder makes of the packets."""
    import av

    decoder: Any = av.CodecContext.create(codec.decoder, "r")
    decoder.thread_count = 1
    decoder.options = {"flags": "+output_corrupt"}
    frames: dict[int, Any] = {}
    for packet in [*packets, None]:
        try:
            decoded = decoder.decode(packet)
        except (av.error.InvalidDataError, av.error.ArgumentError):  # undecodable without what was lost before it
            continue
        frames.update({frame.pts: frame for frame in decoded if frame.pts is not None})
    return frames
