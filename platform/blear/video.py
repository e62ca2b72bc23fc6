"""Public reader of videos that the core and several plugins share: frames with their numbers and time stamps."""

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
        number: its place in the video, from 0.
        seconds: its time stamp in the container, from the start of the video.
        image_HWC: RGB uint8 [H, W, 3], as it is stored.
        pixel_aspect: width of a stored pixel over its height, 1.0 where the container says nothing.
    """

    number: int
    seconds: float
    image_HWC: np.ndarray
    pixel_aspect: float = 1.0


def read_video(video: Path, every: int = 1) -> Iterator[VideoFrame]:
    """Every `every`-th frame of a video, from the first; those between are not converted.

    Raises:
        DataError: the file is missing, is no video, or ends long before the length that it states.
    """
    if not video.is_file():
        raise DataError("there is no such file", str(video), "check the path")
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
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
    if stated - count > max(5, 0.1 * stated):  # containers state their length only roughly
        do = "the file is damaged: get a whole copy"
        raise DataError(f"decoding stops after {count} of {stated:.0f} frames", str(video), do)
