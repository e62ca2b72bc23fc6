"""Public video reader: frames with their numbers and time stamps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from blear.errors import DataError


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame of a video.

    Attributes:
        number: index of the frame in the video, from 0.
        seconds: time stamp from the container, in seconds from the start of the video.
        image_HWC: RGB uint8 [H, W, 3], at the stored size.
        pixel_aspect: width of a stored pixel divided by its height; 1.0 if the container does not give it.
    """

    number: int
    seconds: float
    image_HWC: np.ndarray
    pixel_aspect: float = 1.0


def read_video(video: Path, every: int = 1) -> Iterator[VideoFrame]:
    """Iterates over every `every`-th frame of a video, beginning with the first one.

    The frames between are decoded but not converted to RGB.

    Raises:
        DataError: the file is missing, is not a video, or has over 10 % (and 5) fewer frames than its container states.
    """
    if not video.is_file():
        raise DataError("there is no such file", str(video), "check the path")
    capture = cv2.VideoCapture(str(video.absolute()), cv2.CAP_FFMPEG)  # ffmpeg takes `12:` in 12:30.mp4 for a protocol
    count = 0
    try:
        stated = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
        aspect = (capture.get(cv2.CAP_PROP_SAR_NUM) or 1) / (capture.get(cv2.CAP_PROP_SAR_DEN) or 1)
        while capture.grab():
            if count % every == 0:
                seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                decoded, bgr_HWC = capture.retrieve()
                if not decoded:
                    break
                yield VideoFrame(count, seconds, np.ascontiguousarray(bgr_HWC[..., ::-1]), aspect)
            count += 1
    finally:
        capture.release()
    if count == 0:
        raise DataError("no frame can be decoded", str(video), "give a video file that ffmpeg can play")
    if stated - count > max(5, 0.1 * stated):  # the length in a container is approximate
        do = "the file is damaged: get a whole copy"
        raise DataError(f"decoding stops after {count} of {stated:.0f} frames", str(video), do)
