"""The process that decodes uploads: `python -m blear.serve.decode_process LIMITS`, with memory and CPU time limited.

The process reads requests from standard input and writes replies to standard output. A request is a JSON header and
the bytes of a file; a reply is a JSON header and the pixels. Both are preceded by their lengths, two little-endian
64-bit numbers. Nothing of a file is kept.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import resource
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image

from blear.errors import BlearError
from blear.imaging import read_picture
from blear.predict.video import FrameRateChoice, FrameWindow, windows
from blear.serve.file_types import file_type
from blear.serve.limits import TooLargeError, UploadLimits, WrongTypeError
from blear.video import VideoFrame, read_video

LENGTHS = struct.Struct("<QQ")
"""Lengths of the header and of the content of a message."""
_OPEN_FILES = 64
_UNNAMED = re.compile(r"/proc/self/fd/\d+")


def main() -> None:
    """Answers requests until standard input is closed."""
    limits = UploadLimits(**json.loads(sys.argv[1]))
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not become a part of a reply
    cv2.setNumThreads(1)
    Image.MAX_IMAGE_PIXELS = None  # `limits.pixels` is smaller
    Image.init()  # loads the formats before the number of open files is limited
    _restrict(limits)
    while (request := _read(requests)) is not None:
        header, content = request
        _allow_cpu_seconds(limits.cpu_s)
        try:
            reply, pixels = decode(content, header["length"], limits)
            reply["notes"] = [_UNNAMED.sub("the video", note) for note in reply["notes"]]
        except BlearError as error:
            reply, pixels = {"error": type(error).__name__, "message": _UNNAMED.sub("the video", str(error))}, None
        except MemoryError:
            message = f"decoding needs more than {limits.memory // 1_000_000} MB of memory"
            reply, pixels = {"error": TooLargeError.__name__, "message": message}, None
        write_message(replies, reply, b"" if pixels is None else pixels.tobytes())
        del pixels, request, content


def write_message(stream: BinaryIO, header: dict[str, Any], content: bytes) -> None:
    """Writes a message."""
    text = json.dumps(header).encode()
    stream.write(LENGTHS.pack(len(text), len(content)) + text)
    stream.write(content)
    stream.flush()


def decode(data: bytes, length: int, limits: UploadLimits) -> tuple[dict[str, Any], np.ndarray]:
    """Decodes a picture, or windows of `length` frames of a video.

    Returns:
        {"kind", "notes", "frames": [{"frame", "seconds", "shot", "damaged"}]}, and uint8 RGB [N, length, H, W, 3]; of
        a picture, [1, 1, H, W, 3].

    Raises:
        DataError: it is damaged, too large, or neither a picture nor a video.
    """
    kind = file_type(data[:1024])
    if kind == "picture":
        picture = _picture(data, limits)
        frames = [{"frame": 0, "seconds": 0.0, "shot": 0, "damaged": False}]
        return {"kind": kind, "notes": [], "frames": frames, "shape": [1, 1, *picture.shape]}, picture
    if kind is None:
        what = "the file is neither a picture (JPEG, PNG, WebP, BMP) nor a video (MP4, WebM, AVI, MPEG, GIF)"
        raise WrongTypeError(what)
    notes: list[str] = []
    found = list(_windows(data, length, limits, notes.append))
    if not found:
        raise WrongTypeError("the video has no frame that can be decoded")
    frames = [{"frame": one.frame, "seconds": one.seconds, "shot": one.shot, "damaged": one.damaged} for one in found]
    pixels = np.stack([np.stack(one.images) for one in found])
    return {"kind": kind, "notes": notes, "frames": frames, "shape": list(pixels.shape)}, pixels


def _picture(data: bytes, limits: UploadLimits) -> np.ndarray:
    width = height = 0
    with contextlib.suppress(Exception), Image.open(io.BytesIO(data)) as image:  # `read_picture` gives the reason
        width, height = image.size  # only the header was read
    if width * height > limits.pixels:
        what = f"the picture has {width} x {height} pixels; at most {limits.pixels:,} are accepted"
        raise TooLargeError(what, do="reduce it")
    return read_picture(data, "the upload")


def _windows(data: bytes, length: int, limits: UploadLimits, notice: Callable[[str], None]) -> Iterator[FrameWindow]:
    descriptor = os.memfd_create("upload")  # FFmpeg reads a file; this one has no name
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        video = Path(f"/proc/self/fd/{descriptor}")
        frames = _reduced(read_video(video, threads=1, notice=notice), limits.side)
        room = limits.memory // 3  # the windows are stacked, which takes as much again
        for number, window in enumerate(windows(frames, FrameRateChoice(limits.rate), length)):
            room -= sum(image.nbytes for image in window.images)
            if number == limits.frames or room < 0:
                notice(f"the first {number} frames are predicted, {limits.rate:g} in one second")
                return
            yield window


def _reduced(frames: Iterable[VideoFrame], side: int) -> Iterator[VideoFrame]:
    for frame in frames:
        yield VideoFrame(
            frame.number,
            frame.seconds,
            functools.partial(_reduced_image, frame, side),
            frame.pixel_aspect,
            frame.damaged,
            frame.thumbnail_HWC,
        )


def _reduced_image(frame: VideoFrame, side: int) -> np.ndarray:
    image_HWC = frame.image_HWC
    factor = side / max(image_HWC.shape[:2])
    if factor >= 1:
        return image_HWC
    height, width = (max(1, round(n * factor)) for n in image_HWC.shape[:2])
    return cv2.resize(image_HWC, (width, height), interpolation=cv2.INTER_AREA)


def _restrict(limits: UploadLimits) -> None:
    """Limits memory, open files and written files of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + limits.memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.bytes, limits.bytes))  # of the unnamed file in memory
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _allow_cpu_seconds(seconds: int) -> None:
    """Ends this process (SIGXCPU) when it uses more CPU time from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


def _read(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    header, content = LENGTHS.unpack(lengths)
    return json.loads(stream.read(header)), stream.read(content)


if __name__ == "__main__":
    main()
