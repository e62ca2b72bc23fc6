"""Turned videos: finds the quarter turns that make the faces upright, turns frames, and turns boxes back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from blear.imaging import Box
from blear.predict.detectors import DetectedFace, Detector
from blear.predict.video import FrameWindow
from blear.progress import echo
from blear.video import VideoFrame
from blear.video.samples import sample_frames

_SAMPLES = 8
_LARGEST = 1280  # longer side of the frames in which turned faces are searched for


def find_turn(frames: Iterable[np.ndarray], detector: Detector) -> int:
    """The number of clockwise quarter turns that makes the faces of a video upright, 0 to 3.

    The first frame with an upright face ends the search with 0. Where no frame has one, the turn is that with the most
    upright faces; it must have more of them than all other turns together.

    Args:
        frames: some frames of the video, RGB uint8 [H, W, 3].
        detector: detects the faces; without landmarks, every face is taken for upright.
    """
    kept = []
    for frame_HWC in frames:
        frame_HWC = _shrink(frame_HWC)
        if _upright(detector, frame_HWC):
            return 0
        kept.append(frame_HWC)
    counts = [0, *(sum(_upright(detector, np.rot90(frame, -turn)) for frame in kept) for turn in (1, 2, 3))]
    best = max(range(4), key=counts.__getitem__)
    return best if 2 * counts[best] > sum(counts) else 0


class UprightVideo:
    """Turns the frames of a video so that its faces are upright, and their boxes back.

    Args:
        turn: clockwise quarter turns.
    """

    def __init__(self, turn: int = 0) -> None:
        self.turn = turn
        self._height = self._width = 0

    @classmethod
    def search(cls, video: Path, detector: Detector) -> UprightVideo:
        """Finds the turn of a video from a few frames, see `find_turn`, and prints it where there is one.

        Raises:
            DataError: the file is missing or is not a video.
        """
        turn = find_turn(sample_frames(video, _SAMPLES), detector)
        if turn:
            echo(f"{video}: no face is upright; the frames are turned by {90 * turn} degrees clockwise")
        return cls(turn)

    def frames(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """The frames, turned when their images are read."""
        if not self.turn:
            yield from frames
            return
        for frame in frames:
            convert = partial(self._turned, frame)
            small = frame.thumbnail_HWC
            yield VideoFrame(frame.number, frame.seconds, convert, frame.pixel_aspect, frame.damaged, small)

    def _turned(self, frame: VideoFrame) -> np.ndarray:
        self._height, self._width = frame.image_HWC.shape[:2]
        return np.ascontiguousarray(np.rot90(frame.image_HWC, -self.turn))

    def box_in_video(self, box: Box) -> Box:
        """A box of a turned frame in pixels of the video's frame."""
        return turn_back(box, self.turn, self._height, self._width)


def turn_back(box: Box, turn: int, height: int, width: int) -> Box:
    """A box of a turned frame as a box of the frame.

    Args:
        turn: clockwise quarter turns of the turned frame.
        height, width: of the frame that was not turned.
    """
    right, bottom = box.left + box.width, box.top + box.height
    if turn == 1:
        return Box(box.top, height - right, box.height, box.width)
    if turn == 2:
        return Box(width - right, height - bottom, box.width, box.height)
    if turn == 3:
        return Box(width - bottom, box.left, box.height, box.width)
    return box


def _upright(detector: Detector, frame_HWC: np.ndarray) -> int:
    window = FrameWindow(0, 0.0, (np.ascontiguousarray(frame_HWC),))
    return sum(_is_upright(face) for faces in detector([window]) for face in faces)


def _is_upright(face: DetectedFace) -> bool:
    """Whether the mouth lies below the eyes, less than 45 degrees aside."""
    if face.points_52 is None:
        return True
    eyes, mouth = face.points_52[:2].mean(axis=0), face.points_52[3:].mean(axis=0)
    across, down = mouth - eyes
    return bool(down > abs(across))


def _shrink(frame_HWC: np.ndarray) -> np.ndarray:
    step = -(-max(frame_HWC.shape) // _LARGEST)
    return np.ascontiguousarray(frame_HWC[::step, ::step])  # a view would keep the whole frame
