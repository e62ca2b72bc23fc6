"""Opens a video file and chooses its video stream."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.stream import Disposition

from blear.errors import DataError

_DEFAULT_RATE = 25.0


def open_container(video: Path, hardware: str | None = None) -> av.container.InputContainer:
    """Opens a file for decoding. FFmpeg may read this file alone, no address that stands in it.

    Args:
        hardware: kind of a device that decodes, for instance "cuda"; the CPU where it cannot decode the video.

    Raises:
        DataError: the file is missing or is not a video.
    """
    if not video.is_file():
        raise DataError("there is no such file", str(video), "check the path")
    from av.codec.hwaccel import HWAccel

    try:
        return av.open(
            f"file:{video.absolute()}",  # without the protocol, FFmpeg takes `12:` in 12:30.mp4 for one
            options={"protocol_whitelist": "file"},
            hwaccel=HWAccel(device_type=hardware) if hardware is not None else None,
            metadata_errors="replace",
        )
    except (av.FFmpegError, ValueError) as error:
        raise undecodable(video) from error


def undecodable(video: Path) -> DataError:
    """The error of a file that is not a video, or whose index is missing."""
    if _lacks_index(video):
        what = "no frame can be decoded: the recording is cut off, and its index (the box `moov`) is missing"
        return DataError(what, str(video), "get a whole copy, or rebuild the index with a repair tool")
    return DataError("no frame can be decoded", str(video), "give a video file that ffmpeg can play")


def choose_stream(container: av.container.InputContainer, video: Path, index: int | None) -> av.VideoStream:
    """The video stream of number `index` among the video streams; None: the largest one that is no cover picture.

    Raises:
        DataError: there is no such stream, or no decoder for it.
    """
    streams = list(container.streams.video)
    if not streams:
        raise undecodable(video)
    if index is not None and not 0 <= index < len(streams):
        do = f"choose one of 0 to {len(streams) - 1}"
        raise DataError(f"there is no video stream {index}", str(video), do)
    chosen = max(streams, key=_preference) if index is None else streams[index]
    if chosen.codec_context is None:
        if _lacks_index(video):  # the part that is there may have the stream without its codec
            raise undecodable(video)
        raise DataError("no decoder for its video codec is installed", str(video), "convert it, for instance to H.264")
    return chosen


def is_cover(stream: av.VideoStream) -> bool:
    """Whether a stream is a cover picture or a thumbnail."""
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def frame_rate(stream: av.VideoStream) -> float:
    """Frames per second: the average, or else the container's guess, or else 25."""
    rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    return float(next((rate for rate in rates if rate), _DEFAULT_RATE))


def dropped_frames(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    """Number of frames that an AVI file counts and leaves out: a camera that drops frames writes empty chunks.

    The times in the index of the file skip them. 0 where the file has no index, or is no AVI file.
    """
    entries = stream.index_entries
    if container.format.name != "avi" or not len(entries):
        return 0
    return max(0, entries[len(entries) - 1].timestamp + 1 - len(entries))


def pixel_aspect(stream: av.VideoStream) -> float:
    """Width of a stored pixel divided by its height."""
    ratio = stream.sample_aspect_ratio
    return float(ratio) if ratio is not None and ratio > 0 else 1.0


def time_base(stream: av.VideoStream) -> Fraction:
    """Seconds of one unit of the stream's time stamps."""
    return stream.time_base or Fraction(1, 1000)


def _preference(stream: av.VideoStream) -> tuple[bool, bool, int, bool]:
    context = stream.codec_context
    pixels = 0 if context is None else context.width * context.height
    return not is_cover(stream), context is not None, pixels, bool(stream.disposition & Disposition.default)


def _lacks_index(video: Path) -> bool:
    """Whether a file of the MP4 family has no whole box `moov` at its outer level."""
    end = video.stat().st_size
    with video.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":
            return False
        position = 0
        while position + 8 <= end:
            file.seek(position)
            header = file.read(16)
            size = int.from_bytes(header[:4], "big")
            size = int.from_bytes(header[8:], "big") if size == 1 else size or end
            position += max(size, 8)
            if header[4:8] in (b"moov", b"moof") and position <= end:
                return False
    return True
