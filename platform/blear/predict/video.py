"""Frame windows of a video: a frame with its time stamp and the frames before it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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
        damaged: see `VideoFrame`.
    """

    frame: int
    seconds: float
    images: tuple[np.ndarray, ...]
    damaged: bool = False

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
        DataError: the file is missing or is not a video.
    """
    yield from windows(read_video(video), lambda frame: frame.number % every == 0, length, static)


def windows(
    frames: Iterable[VideoFrame], chosen: Callable[[VideoFrame], bool], length: int, static: bool = False
) -> Iterator[FrameWindow]:
    """Yields a window of `length` frames for each chosen frame; see `frame_windows`."""
    buffer: deque[VideoFrame] = deque(maxlen=length)
    for frame in frames:
        buffer.append(frame)
        if chosen(frame):
            missing = [buffer[0]] * (length - len(buffer))
            of_window = (frame,) * length if static else (*missing, *buffer)
            images = tuple(shown.image_HWC for shown in of_window)
            yield FrameWindow(frame.number, frame.seconds, images, frame.damaged)


class FrameRateChoice:
    """Chooses frames at a rate: the first frame, then each first frame after 1, 2, 3, ... intervals.

    Args:
        rate: chosen frames per second.
    """

    def __init__(self, rate: float) -> None:
        self._step, self._next = 1 / rate, 0.0

    def __call__(self, frame: VideoFrame) -> bool:
        """Whether the frame is chosen."""
        if frame.seconds < self._next - 1e-6:
            return False
        self._next = (math.floor(frame.seconds / self._step + 1e-6) + 1) * self._step
        return True
