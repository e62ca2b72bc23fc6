"""Reads frames from a stream without an end: a camera, a network address, a pipe."""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Iterator
from typing import Any

import av

from blear.errors import DataError
from blear.video.container import frame_rate, is_cover, pixel_aspect, time_base
from blear.video.decoding import ONE_THREAD
from blear.video.deinterlace import Deinterlacer
from blear.video.frames import RgbConverter, Thumbnails, VideoFrame
from blear.video.times import FrameTimes

_NETWORK = ("http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp")
_PROTOCOLS = {  # that FFmpeg may use for an address
    "http": "http,https,httpproxy,tcp,tls,crypto",
    "rtsp": "rtsp,rtp,srtp,udp,tcp,tls,crypto,http,https,httpproxy",
    "rtmp": "rtmp,rtmps,rtmpt,rtmpe,tcp,tls,crypto",
}
_SECRET = re.compile(  # in the query of an address, or in its path as some cameras have it: user=a_password=b_channel=1
    "(?i)(?<=[?&;/_])([a-z0-9.-]*(?:user|usr|login|pass|pwd|token|key|secret|auth|sig|cred)[a-z0-9._-]*=)"
    "(?:(?!_[a-z]+=)[^&;#])*"
)
_TIMEOUT_S = 10.0
_MOST_ERRORS = 100  # in a row
_ENDS = (av.error.EOFError, av.error.ConnectionResetError, av.error.BrokenPipeError)
_WITHOUT_TIMES = ("mjpeg", "mpjpeg")  # formats of pictures; their times are those of arrival


def is_stream(text: str) -> bool:
    """Whether a text names a stream: `-` (standard input), `camera:N`, or an address such as `rtsp://host/path`."""
    return text == "-" or text.startswith("camera:") or (text.partition("://")[0].lower() in _NETWORK and "://" in text)


def without_secrets(address: str) -> str:
    """An address for messages and outputs: without user name and password, and with `***` for secrets in its query.

    A password may hold `@` and `/`, where a part of it looks like a path.
    """
    scheme, found, rest = address.partition("://")
    if not found:
        return address
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    rest = rest[authority.rfind("@") + 1 :]
    if ":" in authority:  # of a password, or before a port
        is_port = authority.rpartition(":")[2].isdecimal()
        end = (rest.partition("?")[0] if is_port or "@" in authority else rest).rfind("@")
        rest = rest if end < 0 else f"***{rest[end:]}"
    return f"{scheme}://" + _SECRET.sub(r"\1***", rest)


class VideoStream:
    """An opened stream.

    Args:
        address: see `is_stream`.

    Attributes:
        has_end: the container states how long the video is: it is a file at an address.
        codec, rate: as in `VideoInfo`.

    Raises:
        DataError: it cannot be opened, or has no video.
    """

    def __init__(self, address: str) -> None:
        self.address, shown = address, without_secrets(address)
        file, form, options = _target(address)
        try:
            self._container: Any = av.open(
                file, format=form, options=options, timeout=None if form or address == "-" else _TIMEOUT_S
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"cannot be opened: {_reason(error)}", shown, _advice(address)) from error
        streams = [one for one in self._container.streams.video if not is_cover(one) and one.codec_context is not None]
        if not streams:
            self._container.close()
            raise DataError("has no video that can be decoded", shown, _advice(address))
        self._stream = max(streams, key=lambda one: one.codec_context.width * one.codec_context.height)
        self.codec, self.rate = str(self._stream.codec_context.name), frame_rate(self._stream)
        self._stream.thread_type = "NONE" if self.codec in ONE_THREAD else "SLICE"  # frame threads hold frames back
        self.has_end = address != "-" and self._container.duration is not None

    def frames(self) -> Iterator[VideoFrame]:
        """Yields the frames; see `read_video`.

        Raises:
            DataError: the stream ends without a frame.
        """
        deinterlacer, shrink = Deinterlacer(), Thumbnails()
        times = FrameTimes(None, time_base(self._stream), self.rate)
        arrives = self._container.format.name in _WITHOUT_TIMES
        began = time.monotonic()

        def at(frame: av.VideoFrame) -> float:
            return time.monotonic() - began if arrives else times(frame.pts, frame.dts)

        timed = ((frame, (at(frame), bool(frame.is_corrupt))) for frame in self._decode())
        convert: RgbConverter | None = None
        count, aspect = 0, pixel_aspect(self._stream)
        for count, (frame, (seconds, broken)) in enumerate(deinterlacer(timed), start=1):
            if convert is None:
                convert = RgbConverter(frame.width, frame.height, aspect)
            image, small = functools.partial(convert, frame), functools.partial(shrink, frame)
            yield VideoFrame(count - 1, seconds, image, aspect, broken, small)
        if count == 0:
            raise DataError("no frame can be decoded", without_secrets(self.address), _advice(self.address))

    def _decode(self) -> Iterator[av.VideoFrame]:
        failed, packets = 0, self._container.demux(self._stream)
        while failed < _MOST_ERRORS:
            try:
                packet = next(packets)
                if packet.size:
                    yield from packet.decode()
                failed = 0
            except (StopIteration, IndexError, *_ENDS):  # IndexError: see `StreamDecoder`
                break
            except av.error.ExitError as error:  # PyAV's time limit
                what = f"no data for {_TIMEOUT_S:g} s"
                raise DataError(what, without_secrets(self.address), _advice(self.address)) from error
            except av.FFmpegError:
                failed, packets = failed + 1, self._container.demux(self._stream)
        with contextlib.suppress(av.FFmpegError):
            yield from self._stream.decode(None)  # frames that the decoder holds back

    def close(self) -> None:
        """Closes the stream."""
        self._container.close()


def _target(address: str) -> tuple[str, str | None, dict[str, str]]:
    """FFmpeg's name of a stream, its format (None: FFmpeg finds it) and options."""
    if address == "-":
        return "pipe:0", None, {"protocol_whitelist": "pipe"}
    if address.startswith("camera:"):
        number = address.removeprefix("camera:")
        if not number.isdecimal():
            raise DataError(f"{number!r} is no number of a camera", address, "write camera:0 for /dev/video0")
        return f"/dev/video{int(number)}", "v4l2", {}
    scheme = address.partition("://")[0].lower()
    family = next((name for name in _PROTOCOLS if scheme.startswith(name)), scheme)
    options = {"protocol_whitelist": _PROTOCOLS.get(family, scheme)}
    return address, None, options | ({"rtsp_transport": "tcp"} if family == "rtsp" else {})


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")


def _advice(address: str) -> str:
    if address == "-":
        return "pipe a video that can be read without seeking into it, for instance MPEG-TS or Matroska"
    if address.startswith("camera:"):
        return "check that the camera is connected and that you may read it (group `video`)"
    return "check the address, and that the server sends a video"
