"""Encodes and decodes one clip with a real codec, and counts the bits."""

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
    """A decoded clip.

    Attributes:
        frames_THWC: uint8, of the original clip's shape.
        bits: size of all packets, lost ones included, without a container.
        kbps: `bits` divided by the clip's duration, in kilobits (1000 bits) per second.
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
    """Encodes and decodes a clip.

    With `settings.shrink` the clip is downscaled before the encoder and upscaled after the decoder; the bits are those
    of the small video. A missing frame is replaced by the previous one; frames before the first decoded frame are
    black. The result is deterministic: encoder and decoder run on one thread.

    Args:
        clip_THWC: uint8; C is 1 (grey) or 3 (RGB).
        settings: codec and quality or bit rate.
        dropped_T: bool; frames that are left out before encoding. The first frame is never left out.
        lost_T: bool; frames whose packets are lost; the decoder conceals the loss. A packet is one coded frame.

    Raises:
        PluginError: FFmpeg lacks the codec, the encoder rejects the clip or the settings, or the decoder returns fewer
            frames than were encoded although no packet was lost.
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
    """Returns the packets. The `pts` of a packet is the number of its frame."""
    import av

    from blear.video import open_encoder

    require_codec(codec)
    encoder: Any = av.CodecContext.create(codec.encoder, "w")
    encoder.width, encoder.height, encoder.pix_fmt = converter.width, converter.height, codec.pixels
    encoder.framerate = Fraction(settings.fps).limit_denominator(1001)
    encoder.time_base = 1 / encoder.framerate
    encoder.thread_count = 1
    encoder.options = options_of(settings)
    packets = []
    try:
        open_encoder(encoder)
        for index, picture_HWC in pictures:
            frame = converter.to_frame(picture_HWC)
            frame.pts, frame.time_base = index, encoder.time_base
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
    except av.FFmpegError as error:
        size = f"{converter.width} x {converter.height}"
        what = f"{codec.encoder} rejects frames of {size} with {settings}: {error}"
        raise PluginError(what, f"codec/{codec.name}", "change its parameters or the size of the frames") from error
    return [_without_encoder_text(packet) for packet in packets] if codec.name == "h264" else packets


def _without_encoder_text(packet: Any) -> Any:
    """Removes x264's 700 bytes of text about its version (SEI), which can exceed the pictures of a small clip."""
    from av import Packet

    data = bytes(packet)
    bare = _ENCODER_TEXT.sub(b"", data)
    if len(bare) == len(data):
        return packet
    shorter = Packet(bare)
    shorter.pts, shorter.dts, shorter.time_base = packet.pts, packet.dts, packet.time_base
    return shorter


def _decode(packets: Sequence[Any], codec: Codec) -> dict[int, Any]:
    """Decodes the packets. Returns frame number -> frame."""
    import av

    decoder: Any = av.CodecContext.create(codec.decoder, "r")
    decoder.thread_count = 1
    decoder.options = {"flags": "+output_corrupt"}
    frames: dict[int, Any] = {}
    for packet in [*packets, None]:
        try:
            decoded = decoder.decode(packet)
        except (av.error.InvalidDataError, av.error.ArgumentError):  # depends on a lost packet
            continue
        frames.update({frame.pts: frame for frame in decoded if frame.pts is not None})
    return frames
