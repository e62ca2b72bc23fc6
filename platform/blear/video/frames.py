"""A decoded frame, and its conversion to an RGB image: square pixels, upright, one size for the whole video."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import VideoReformatter

from blear.errors import DataError

THUMBNAIL = (64, 36)
"""Width and height of thumbnails, in pixels."""


class VideoFrame:
    """One frame of a video. The image is converted to RGB when `image_HWC` is first read.

    Attributes:
        number: index of the frame among the decoded frames of the video, from 0.
        seconds: time from the start of the video stream, in seconds. Times never decrease.
        pixel_aspect: width of a stored pixel divided by its height; 1.0 if the container does not give it.
        damaged: the decoder reports wrong data in this frame, or the frames before it are missing.
    """

    def __init__(
        self,
        number: int,
        seconds: float,
        convert: Callable[[], np.ndarray],
        pixel_aspect: float,
        damaged: bool,
        shrink: Callable[[], np.ndarray] | None = None,
    ) -> None:
        self.number, self.seconds, self.pixel_aspect, self.damaged = number, seconds, pixel_aspect, damaged
        self._convert: Callable[[], np.ndarray] | None = convert
        self._shrink = shrink
        self._image_HWC: np.ndarray | None = None

    @property
    def image_HWC(self) -> np.ndarray:
        """RGB uint8 [H, W, 3], upright."""
        if self._convert is not None:
            self._image_HWC, self._convert, self._shrink = self._convert(), None, None  # frees the decoded frame
        assert self._image_HWC is not None
        return self._image_HWC

    def thumbnail_HWC(self) -> np.ndarray:
        """A small copy for comparisons, RGB uint8 [36, 64, 3]: single pixels of the frame, perhaps not upright."""
        if self._shrink is not None:
            return self._shrink()
        import cv2  # here, so that plugins are found without loading it

        return cv2.resize(self.image_HWC, THUMBNAIL, interpolation=cv2.INTER_NEAREST)


@contextlib.contextmanager
def _conversion() -> Iterator[None]:
    """Raises a DataError where FFmpeg cannot convert a frame."""
    try:
        yield
    except av.FFmpegError as error:
        raise DataError(f"a frame cannot be converted to RGB: {error.strerror}", do="get a whole copy") from error


class RgbConverter:
    """Converts decoded frames to RGB images of one size.

    Args:
        width, height: size of the stored frames.
        pixel_aspect: width of a stored pixel divided by its height. Images have square pixels: they are stretched in
            one direction, never shrunk.
    """

    def __init__(self, width: int, height: int, pixel_aspect: float) -> None:
        wide = max(1.0, pixel_aspect)
        self.width, self.height = round(width * wide), round(height * wide / pixel_aspect)

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """RGB uint8 [H, W, 3].

        Raises:
            DataError: the frame states colours that FFmpeg cannot convert, for instance because it is damaged.
        """
        with _conversion():
            rgb = frame.reformat(self.width, self.height, "rgb24", interpolation="BICUBIC", threads=1)
        plane: Any = rgb.planes[0]
        rows_HB = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # a view: pictures of 4K are large
        image_HWC = rows_HB[: self.height, : 3 * self.width].reshape(self.height, self.width, 3)
        return np.ascontiguousarray(_upright(image_HWC, frame))


def _upright(image_HWC: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Applies the container's display matrix, where it is made of quarter turns and mirrorings."""
    turn = display_matrix(frame)
    if turn is None:
        return image_HWC
    (xx, xy), (yx, yy) = turn  # x' = xx x + xy y, y' = yx x + yy y
    if xx == 0:
        image_HWC = image_HWC.transpose(1, 0, 2)
    return image_HWC[:: yx + yy, :: xx + xy]


def display_matrix(frame: av.VideoFrame) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The signs of the display matrix of a frame; None: no matrix, or a turn that is no quarter turn."""
    read: Any = SideDataContainer  # frame.side_data would stay with the frame and refer to it: a circle, and large
    data = read(frame).get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d = np.sign(np.frombuffer(bytes(data), np.int32)[:5]).tolist()
    return ((a, c), (b, d)) if abs(a) + abs(c) == 1 and abs(b) + abs(d) == 1 and abs(a) == abs(d) else None


class Thumbnails:
    """Makes the thumbnails of the frames of one video."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """RGB uint8 [36, 64, 3]; raises as `RgbConverter` does."""
        with _conversion():
            small = self._reformatter.reformat(frame, *THUMBNAIL, "rgb24", interpolation="POINT", threads=1)
        return small.to_ndarray()
