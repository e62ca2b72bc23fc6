"""Frames of a video with their time stamps, and the frames before each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from blear.errors import DataError


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
    for frame, (seconds, image_HWC) in enumerate(_frames(video)):
        buffer.append(image_HWC)
        if frame % every == 0:
            missing = [buffer[0]] * (length - len(buffer))
            yield Moment(frame, seconds, (image_HWC,) * length if static else (*missing, *buffer))


def _frames(video: Path) -> Iterator[tuple[float, np.ndarray]]:
    if not video.is_file():
        raise DataError("there is no such file", str(video), "check the path")
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    count = 0
    try:
        stated = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
        while capture.grab():
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            decoded, bgr_HWC = capture.retrieve()
            if not decoded:
                break
            yield seconds, np.ascontiguousarray(bgr_HWC[..., ::-1])
            count += 1
    finally:
        capture.release()
    if count == 0:
        raise DataError("no frame can be decoded", str(video), "give a video file that ffmpeg can play")
    if stated - count > max(5, 0.1 * stated):  # containers state their length only roughly
        do = "the file is damaged: get a whole copy"
        raise DataError(f"decoding stops after {count} of {stated:.0f} frames", str(video), do)
