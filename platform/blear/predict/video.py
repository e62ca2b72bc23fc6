"""Frame windows of a video: a frame with its time stamp and the frames before it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blear.predict.shots import ShotCounter
from blear.video import VideoFrame, read_video


@dataclass(frozen=True)
class FrameWindow:
    """One frame of a video and the frames before it.

    Attributes:
        frame: number of the frame in the video, from 0.
        seconds: time stamp of the frame, from the start of the video.
        images: the window's RGB uint8 images [H, W, 3], oldest first; the frame itself is the last one. At the start
            of a shot its first frame is repeated.
        damaged: see `VideoFrame`.
        shot: number of the shot that the frame belongs to, see `ShotCounter`.
    """

    frame: int
    seconds: float
    images: tuple[np.ndarray, ...]
    damaged: bool = False
    shot: int = 0

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
    frames: Iterable[VideoFrame],
    chosen: Callable[[VideoFrame], bool],
    length: int,
    static: bool = False,
    cuts: bool = True,
    after: int = -1,
) -> Iterator[FrameWindow]:
    """Yields a window of `length` frames for each chosen frame; see `frame_windows`.

    Args:
        cuts: whether cuts are looked for; False: all frames are one shot, for instance pictures of cut faces.
        after: frames up to this number are left out, and not converted.
    """
    for buffer in shot_buffers(frames, length, cuts):
        if chosen(buffer.frames[-1]) and buffer.frames[-1].number > after:
            yield buffer.window(length, static)


@dataclass(frozen=True)
class ShotBuffer:
    """The last frames of a shot, oldest first, perhaps not converted yet; and the number of the shot."""

    frames: tuple[VideoFrame, ...]
    shot: int

    def window(self, length: int, static: bool = False) -> FrameWindow:
        """The window of the last frame."""
        frame = self.frames[-1]
        missing = (self.frames[0],) * (length - len(self.frames))
        of_window = (frame,) * length if static else (*missing, *self.frames)
        images = tuple(shown.image_HWC for shown in of_window)
        return FrameWindow(frame.number, frame.seconds, images, frame.damaged, self.shot)


def shot_buffers(frames: Iterable[VideoFrame], length: int, cuts: bool = True) -> Iterator[ShotBuffer]:
    """Yields, for every frame, the last `length` frames of its shot, or fewer at the beginning of a shot."""
    buffer: deque[VideoFrame] = deque(maxlen=length)
    count_shots, last_shot = ShotCounter(), 0
    for frame in frames:
        shot = count_shots(frame.thumbnail_HWC()) if cuts else 0
        if shot != last_shot:
            buffer.clear()
        last_shot = shot
        buffer.append(frame)
        yield ShotBuffer(tuple(buffer), shot)


class StrideChoice:
    """Chooses every `every`-th frame, beginning with the first one. Frames may be missing in between."""

    def __init__(self, every: int) -> None:
        self._every, self._next = every, 0

    def __call__(self, frame: VideoFrame) -> bool:
        """Whether the frame is chosen."""
        if frame.number < self._next:
            return False
        self._next = frame.number - frame.number % self._every + self._every
        return True


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
