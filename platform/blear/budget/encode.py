"""Encodes a video with one setting."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from blear.budget.settings import Setting
from blear.errors import RunError
from blear.video import open_encoder, probe_video, read_video
from blear.video.webp import is_animated_webp


@dataclass(frozen=True)
class Encoded:
    """An encoded video.

    Attributes:
        bits: size of all video packets, without the container.
        seconds: length.
        numbers: numbers of its frames in the original.
        scale: width and height of a frame of the original divided by those of the encoded one.
    """

    bits: int
    seconds: float
    numbers: list[int]
    scale: tuple[float, float]


def encode_video(video: Path, setting: Setting, out: Path, seconds: float | None = None) -> Encoded:
    """Encodes a video as Matroska. Frames are resized by area averaging; there is no audio.

    Args:
        seconds: the video is read up to this time; None: to the end.

    Raises:
        DataError: the video cannot be read.
        RunError: FFmpeg lacks the encoder, or it refuses the size.
    """
    rate = Fraction(probe_video(video).rate).limit_denominator(1001)
    numbers: list[int] = []
    bits, scale, stream = 0, (1.0, 1.0), None
    with av.open(f"file:{out.absolute()}", "w", format="matroska") as container:
        for frame in read_video(video, notice=lambda note: None):
            if seconds is not None and frame.seconds >= seconds:
                break
            image = frame.image_HWC
            height, width = image.shape[:2]
            size = setting.size(width, height)
            if stream is None:
                require_encodable(setting, width, height)
                scale = (width / size[0], height / size[1])
                stream = _stream(container, setting, size, rate)
            if size != (width, height):
                image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            picture.pts, picture.time_base = len(numbers), 1 / rate
            numbers.append(frame.number)
            bits += _mux(container, stream, picture)
        if stream is not None:
            bits += _mux(container, stream, None)
    return Encoded(bits, len(numbers) / float(rate), numbers, scale)


def source_rate(video: Path, seconds: float | None = None) -> float:
    """Bit rate of the video stream of a file up to a time, in kbit/s, without the container."""
    bits, length = source_size(video, seconds)
    return bits / length / 1000


def source_size(video: Path, seconds: float | None = None) -> tuple[int, float]:
    """Bits of the video stream of a file up to a time, without the container, and their length in seconds."""
    info = probe_video(video)
    if is_animated_webp(video):  # for FFmpeg, the file is one packet
        whole = (info.frames or 1) / info.rate
        length = whole if seconds is None else min(whole, seconds)
        return round(8 * video.stat().st_size * length / whole), length
    with av.open(f"file:{video.absolute()}") as container:
        stream, bits, first, last = container.streams.best("video"), 0, None, 0.0
        for number, packet in enumerate(container.demux(stream)):
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is None and not packet.size:
                continue  # the end
            # a raw stream, without a container, has no time stamps
            now = number / info.rate if stamp is None else float(stamp * packet.time_base)
            first = now if first is None else first
            if seconds is None or now - first < seconds:
                bits, last = bits + 8 * packet.size, max(last, now - first)
    return bits, last + 1 / info.rate


def require_encodable(setting: Setting, width: int, height: int) -> None:
    """Checks that a video of this size can be encoded with a setting.

    Raises:
        RunError: FFmpeg lacks the encoder, or the encoded frames are too small for it.
    """
    wide, high = setting.size(width, height)
    if min(wide, high) < setting.encoder.least_side:
        what = f"{setting.encoder.name} encodes no frames of {wide} x {high} pixels"
        raise RunError(what, f"--codec {setting.codec}", "choose smaller factors, or h264")
    try:
        av.Codec(setting.encoder.name, "w")
    except (av.FFmpegError, ValueError) as error:
        what = f"the installed PyAV has no encoder {setting.encoder.name}"
        raise RunError(what, f"--codec {setting.codec}", "choose another codec") from error


def _stream(container: Any, setting: Setting, size: tuple[int, int], rate: Fraction) -> Any:
    stream = container.add_stream(setting.encoder.name, rate=rate, options=setting.options)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    open_encoder(stream.codec_context)
    return stream


def _mux(container: Any, stream: Any, picture: Any) -> int:
    """Encodes and writes a frame, None at the end; returns the bits."""
    packets = stream.encode(picture)
    container.mux(packets)
    return 8 * sum(packet.size for packet in packets)
