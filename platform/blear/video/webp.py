"""Animated WebP files, which FFmpeg decodes only from version 9 on; Pillow reads them here."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from blear.errors import DataError
from blear.video.frames import VideoFrame

_ANIMATION = 2  # bit of the flags in the chunk VP8X


def is_animated_webp(file: Path) -> bool:
    """Whether the file is a WebP file of several frames."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        head = opened.read(21)
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & _ANIMATION)


def read_webp(file: Path, every: int) -> Iterator[VideoFrame]:
    """Every `every`-th frame.

    Raises:
        DataError: the file is damaged.
    """
    seconds = 0.0
    try:
        with Image.open(file) as image:
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                image.load()
                if number % every == 0:
                    convert = functools.partial(np.array, image.convert("RGB"))
                    yield VideoFrame(number, seconds, convert, 1.0, damaged=False)
                seconds += image.info.get("duration", 0) / 1000
    except (OSError, EOFError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot be decoded: {error}", str(file), "get a whole copy") from error
