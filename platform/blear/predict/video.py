"""Frame windows of a video: a frame with its time stamp and the frames before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blear.video import VideoFrame, read_video


@dataclass(frozen=True)
class FrameWindow:
    """One frame of a video and the frames before it.

    Attributes:
        frame: number of the frame in the video, from 0.
        seconds: time stamp of the frame, from the start of the video.
        images: the window's RGB uint8 images [H, W, 3], oldest first; the frame itself is the last one. At the start
            of the video the first frame is repeated.
    """

    frame: int
    seconds: float
    images: tuple[np.ndarray, ...]

    @property
    def image_HWC(self) -> np.ndarray:
        """The image of the frame itself."""
        return self.images[-1]


def frame_windows(video: Path, every: int, length: int, static: bool = False) -> Iterator[FrameWindow]:
    """Yields a window of `length` frames for every `every`-th frame of a video, starting with the first frame.

    Args:
        every: stride between the frames; 5 gives frames 0, 5, 10, ...
        length: frames in a window, the frame itself included.
        static: fill the window with the frame itself instead of the frames before it.

    Raises:
        DataError: the file is missing, is not a video.
    """
    buffer: deque[VideoFrame] = deque(maxlen=length)
    for frame in read_video(video):
        buffer.append(frame)
        if frame.number % every == 0:
            missing = [buffer[0]] * (length - len(buffer))
            frames = (frame,) * length if static else (*missing, *buffer)
            yield FrameWindow(frame.number, frame.seconds, tuple(shown.image_HWC for shown in frames))
