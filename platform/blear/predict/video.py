"""Frames of a video with their time stamps, and the frames before each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blear.video import read_video


@dataclass(frozen=True)
class Moment:
    """A frame that is looked at.

    Attributes:
        frame: its number in the video, from 0.
        seconds: its time stamp in the container, from the start of the video.
        past: it and the frames before it, oldest first, RGB uint8 [H, W, 3]; the first frame is repeated at the start.
    """

    frame: int
    seconds: float
    past: tuple[np.ndarray, ...]

    @property
    def image_HWC(self) -> np.ndarray:
        """The frame itself."""
        return self.past[-1]


def moments(video: Path, every: int, length: int, static: bool = False) -> Iterator[Moment]:
    """Every `every`-th frame of a video, from the first, with `length` - 1 frames before it.

    Args:
        static: repeat the frame itself instead of the frames before it.

    Raises:
        DataError: the file is missing, is no video, or ends long before the length that it states.
    """
    buffer: deque[np.ndarray] = deque(maxlen=length)
    for frame in read_video(video):
        buffer.append(frame.image_HWC)
        if frame.number % every == 0:
            missing = [buffer[0]] * (length - len(buffer))
            past = (frame.image_HWC,) * length if static else (*missing, *buffer)
            yield Moment(frame.number, frame.seconds, past)
