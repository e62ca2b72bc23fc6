"""Predicts every target of a model for each face of a video or a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from blear.errors import DataError
from blear.imaging import Box, Framing, crop, picture_files, read_picture
from blear.models.model import Model
from blear.predict.degradation import estimate_degradation
from blear.predict.detectors import DetectedFace, Detector, LocatorDetector
from blear.predict.inputs import Input
from blear.predict.smoothing import Prediction, TrackSmoother
from blear.predict.trackers import FaceTracker, FileTracker, TrackId
from blear.predict.turn import UprightVideo
from blear.predict.video import FrameWindow, windows
from blear.video import VideoFrame, read_video
from blear.video.reader import Damaged

_BATCH_BYTES = 48 << 20  # of the windows that are detected together
_MOST_FRAMES = 16
_FACES = 64
_FOLDER_RATE = 25.0


@dataclass(frozen=True)
class FacePrediction:
    """One face in one frame.

    Attributes:
        frame: number of the frame in the video.
        seconds: time of the frame.
        person: identity of the face in the video.
        index: index of the face among the faces of the frame.
        box: in pixels of the frame.
        score: confidence of the detector; None: it has none.
        damaged: the frame is damaged, or frames before it are missing.
        degradation: see `estimate_degradation`.
        prediction, smoothed: target -> probabilities [K] of a class target, or a value [1].
    """

    frame: int
    seconds: float
    person: TrackId
    index: int
    box: Box
    score: float | None
    damaged: bool
    degradation: dict[str, float]
    prediction: Prediction
    smoothed: Prediction

    @property
    def face_px(self) -> float:
        """The smaller side of the box, in pixels of the frame."""
        return min(self.box.width, self.box.height)


@dataclass(frozen=True)
class FacePredictor:
    """Detects, tracks and recognises the faces of videos and pictures.

    Attributes:
        framing: how faces are cut out of the frames; None: the whole picture is the face (`crops`).
        chooser: makes, for each video, the function that chooses the frames to predict.
        tracker: makes the tracker of a video.
        damaged: see `read_video`.
        smooth: time constant of the smoothing in seconds.
    """

    model: Model
    detector: Detector
    tracker: Callable[[], FaceTracker]
    framing: Framing | None
    chooser: Callable[[], Callable[[VideoFrame], bool]]
    damaged: Damaged = "mark"
    smooth: float = 1.0

    def predict(self, source: Input, on_frames: Callable[[int], None] = lambda count: None) -> Iterator[FacePrediction]:
        """Yields the faces of a video, a picture, or a folder, ordered by time.

        Args:
            on_frames: is called with the number of frames that were decoded since the last call.

        Raises:
            DataError: it cannot be decoded, or a given box lies outside the frame.
        """
        tracker, clip = self.tracker(), self.model.card.clip
        smoother = TrackSmoother(self.smooth, max(clip.width, clip.height))
        upright = UprightVideo()
        by_locator = self.framing is not None and isinstance(self.detector, LocatorDetector)
        if by_locator and not (source.is_picture or source.is_folder or isinstance(tracker, FileTracker)):
            upright = UprightVideo.search(source.path, self.detector)
        for batch in _batches(self._windows(source, clip.length, on_frames, upright)):
            if self.framing is None:
                whole = [Box(0, 0, window.image_HWC.shape[1], window.image_HWC.shape[0]) for window in batch]
                detections = [[DetectedFace(box)] for box in whole]
            else:
                detections = self.detector(batch)
            faces = []
            for window, detected in zip(batch, detections, strict=True):
                by_box = {face.box: face for face in detected}
                tracked = tracker(window.frame, [face.box for face in detected])
                faces += [(window, index, face, by_box[face.box]) for index, face in enumerate(tracked)]
            for first in range(0, len(faces), _FACES):
                part = faces[first : first + _FACES]
                clips = [self._clip(window, detected, source.path) for window, _, _, detected in part]
                outputs = {name: value.float().numpy() for name, value in self.model(clips).items()}
                for number, (window, index, face, detected_face) in enumerate(part):
                    score = detected_face.score
                    prediction = {name: np.atleast_1d(values[number]) for name, values in outputs.items()}
                    side = min(face.box.width, face.box.height)
                    confidence = 1.0 if score is None else score
                    smoothed = smoother(face.id, window.seconds, side, confidence, prediction)
                    yield FacePrediction(
                        window.frame,
                        window.seconds,
                        face.id,
                        index,
                        upright.box_in_video(face.box),
                        score,
                        window.damaged,
                        _degradation(window.image_HWC, face.box),
                        prediction,
                        smoothed,
                    )

    def _windows(
        self, source: Input, length: int, on_frames: Callable[[int], None], upright: UprightVideo
    ) -> Iterator[FrameWindow]:
        if source.is_picture:
            yield FrameWindow(0, 0.0, (read_picture(source.path),) * length)
            on_frames(1)
            return
        if source.is_folder:
            yield from windows(_counted(_pictures(source.path), on_frames), lambda frame: True, length)
            return
        frames = _counted(read_video(source.path, damaged=self.damaged), on_frames)
        yield from windows(upright.frames(frames), self.chooser(), length)

    def _clip(self, window: FrameWindow, face: DetectedFace, path: Path) -> np.ndarray:
        """uint8 [T, h, w, 3]: the face at the same place in all frames of the window; black outside the frame."""
        if self.framing is None:
            return np.stack(window.images)
        try:
            return np.stack([self.framing.cut(image_HWC, face.box, face.points_52) for image_HWC in window.images])
        except ValueError as error:
            where = f"{path}, frame {window.frame}"
            raise DataError(str(error), where, "give boxes of this video") from error


def _pictures(folder: Path) -> Iterator[VideoFrame]:
    """The pictures of a folder, in the order of their names, as the frames of a video at 25 frames per second."""
    for number, file in enumerate(picture_files(folder)):
        yield VideoFrame(number, number / _FOLDER_RATE, partial(read_picture, file), 1.0, False)


def _counted(frames: Iterable[VideoFrame], on_frames: Callable[[int], None]) -> Iterator[VideoFrame]:
    for frame in frames:
        on_frames(1)
        yield frame


def _batches(windows_: Iterable[FrameWindow]) -> Iterator[list[FrameWindow]]:
    """Batches of windows of one frame size, bounded in number and bytes."""
    batch: list[FrameWindow] = []
    for window in windows_:
        if batch and batch[0].image_HWC.shape != window.image_HWC.shape:
            yield batch
            batch = []
        batch.append(window)
        stored = sum(image_HWC.nbytes for each in batch for image_HWC in each.images)
        if len(batch) == _MOST_FRAMES or stored >= _BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _degradation(image_HWC: np.ndarray, box: Box) -> dict[str, float]:
    try:
        return estimate_degradation(np.ascontiguousarray(crop(image_HWC, box, pad="clip")))
    except ValueError:  # the box lies outside the frame, its framing does not
        return {}
