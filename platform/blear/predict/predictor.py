"""Predicts every target of a model for each face of a video or a picture."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from blear.errors import DataError
from blear.imaging import Box, Framing, read_picture
from blear.models.calibration import calibrated
from blear.models.images import resize_face
from blear.models.open_model import AnyModel
from blear.predict.degradation import estimate_face_degradation
from blear.predict.detectors import DetectedFace, Detector, LocatorDetector
from blear.predict.inputs import PICTURES, Input, accepted_pictures
from blear.predict.live import LiveSource
from blear.predict.smoothing import Prediction, TrackSmoother
from blear.predict.sparse import Detected, SparseDetector
from blear.predict.trackers import FaceTracker, FileTracker, TrackId
from blear.predict.turn import UprightVideo
from blear.predict.video import FrameWindow, windows
from blear.predict.video_state import Stateful, VideoState
from blear.progress import echo
from blear.video import VideoFrame, read_video
from blear.video.reader import Damaged

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
        interpolated: see `DetectedFace`.
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
    interpolated: bool
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
        spacing: frames of the video from one detection to the next, see `SparseDetector`; in live streams, every
            frame that is predicted is detected.
        seconds: videos are read up to this time; None: to the end.
    """

    model: AnyModel
    detector: Detector
    tracker: Callable[[], FaceTracker]
    framing: Framing | None
    chooser: Callable[[], Callable[[VideoFrame], bool]]
    damaged: Damaged = "mark"
    smooth: float = 1.0
    spacing: int = 1
    seconds: float | None = None

    def predict(
        self,
        source: Input,
        on_frames: Callable[[int, int], None] = lambda count, left_out: None,
        live: LiveSource | None = None,
        start: VideoState | None = None,
        on_state: Callable[[Callable[[], VideoState]], None] = lambda state: None,
        notice: Callable[[str], None] = echo,
    ) -> Iterator[FacePrediction]:
        """Yields the faces of a video, a picture, a folder or a stream, ordered by time.

        Args:
            on_frames: is called with the number of frames that were read since the last call, and the number of those
                that were not decoded, see `read_video`.
            live: the opened stream.
            start: continues after the frame of this state. Earlier frames are decoded, but neither converted nor
                detected; the following predictions are those of a call that was not interrupted.
            on_state: is called after each batch of frames, with a function that returns the state.
            notice: receives the messages of `read_video`.

        Raises:
            DataError: it cannot be decoded, or a given box lies outside the frame.
        """
        tracker, clip = self.tracker(), self.model.card.clip
        smoother = TrackSmoother(self.smooth, max(clip.width, clip.height))
        upright = UprightVideo()
        is_file = live is None and not (source.is_picture or source.is_folder)
        by_locator = self.framing is not None and isinstance(self.detector, LocatorDetector)
        detector = self._sparse_detector(live)
        parts: dict[str, Any] = {"tracker": tracker, "smoother": smoother, "detector": detector}
        stateful = {name: one for name, one in parts.items() if isinstance(one, Stateful)}
        if start is not None:
            upright = UprightVideo(start.turn)
            for name, one in stateful.items():
                if name in start.parts:  # all but the detector's, which older versions did not write
                    one.restore(start.parts[name])
        elif by_locator and is_file and not isinstance(tracker, FileTracker):
            upright = UprightVideo.search(source.path, self.detector)
        after = -1 if start is None else start.frame
        windows_ = self._windows(source, clip.length, on_frames, live, upright, after, notice)
        for batch in detector(windows_, None if start is None else start.last_detection):
            yield from self._predict_batch(batch, tracker, smoother, upright, source.name)
            on_state(partial(_state, batch[-1], upright.turn, stateful))
            del batch  # before the next frames are decoded: images are large

    def _predict_batch(
        self,
        batch: Sequence[Detected],
        tracker: FaceTracker,
        smoother: TrackSmoother,
        upright: UprightVideo,
        name: str,
    ) -> Iterator[FacePrediction]:
        faces = []
        for window, detected in batch:
            by_box = {face.box: face for face in detected}
            tracked = tracker(window, detected)
            faces += [(window, index, face, by_box[face.box]) for index, face in enumerate(tracked)]
        for first in range(0, len(faces), _FACES):
            part = faces[first : first + _FACES]
            clips = [self._clip(window, detected, name) for window, _, _, detected in part]
            outputs = self.model.predict_arrays(clips)
            for number, (window, index, face, detected_face) in enumerate(part):
                score, side = detected_face.score, min(face.box.width, face.box.height)
                degradation = estimate_face_degradation(window.image_HWC, face.box)
                prediction = {
                    target: self._calibrated(target, np.atleast_1d(values[number]), side, degradation)
                    for target, values in outputs.items()
                }
                confidence = 1.0 if score is None else score
                smoothed = smoother(face.id, window.seconds, side, confidence, prediction)
                yield FacePrediction(
                    window.frame,
                    window.seconds,
                    face.id,
                    index,
                    upright.box_in_video(face.box),
                    score,
                    detected_face.interpolated,
                    window.damaged,
                    degradation,
                    prediction,
                    smoothed,
                )

    def _sparse_detector(self, live: LiveSource | None) -> SparseDetector:
        if self.framing is None:
            return SparseDetector(_whole_frames, 1)
        if live is not None and live.drop:
            return SparseDetector(self.detector, 1, batch_frames=1)
        return SparseDetector(self.detector, 1 if getattr(self.detector, "is_table", False) else self.spacing)

    def _windows(
        self,
        source: Input,
        length: int,
        on_frames: Callable[[int, int], None],
        live: LiveSource | None,
        upright: UprightVideo,
        after: int,
        notice: Callable[[str], None],
    ) -> Iterator[FrameWindow]:
        def counted(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
            for frame in self._before_end(frames):
                on_frames(1, 0)
                yield frame

        if live is not None:
            yield from live.windows(counted, self.chooser(), length, self.framing is not None)
        elif source.is_picture:
            yield FrameWindow(0, 0.0, (read_picture(source.path),) * length)
            on_frames(1, 0)
        elif source.is_folder:
            yield from windows(counted(_pictures(source.path)), lambda frame: True, length, cuts=False)
        else:
            frames = upright.frames(self._before_end(self._frames(source.path, length, on_frames, notice)))
            yield from windows(frames, self.chooser(), length, cuts=self.framing is not None, after=after)

    def _before_end(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        return itertools.takewhile(lambda frame: self.seconds is None or frame.seconds < self.seconds, frames)

    def _frames(
        self, video: Path, length: int, on_frames: Callable[[int, int], None], notice: Callable[[str], None]
    ) -> Iterator[VideoFrame]:
        """The frames of a video. Those that are not predicted may be left out, where clips have one frame."""
        chosen = self.chooser()

        def wanted(number: int, seconds: float) -> bool:
            return chosen(VideoFrame(number, seconds, lambda: np.empty(0), 1.0, damaged=False))

        only = wanted if length == 1 else None
        return read_video(video, damaged=self.damaged, wanted=only, on_frames=on_frames, notice=notice)

    def _calibrated(self, target: str, values: np.ndarray, px: float, degradation: Mapping[str, float]) -> np.ndarray:
        calibration = self.model.card.calibration.get(target)
        return values if calibration is None else calibrated(values, calibration.temperature(px, degradation))

    def _clip(self, window: FrameWindow, face: DetectedFace, name: str) -> np.ndarray:
        """uint8 [T, h, w, 3]: the face at the same place in all frames of the window; black outside the frame."""
        if self.framing is None:
            height, width = window.image_HWC.shape[:2]  # cut faces of a folder may have several sizes
            return np.stack([resize_face(image_HWC, height, width) for image_HWC in window.images])
        try:
            return np.stack([self.framing.cut(image_HWC, face.box, face.points_52) for image_HWC in window.images])
        except ValueError as error:
            where = f"{name}, frame {window.frame}"
            raise DataError(str(error), where, "give boxes of this video") from error


def _pictures(folder: Path) -> Iterator[VideoFrame]:
    """The pictures of a folder, in the order of their names, as the frames of a video at 25 frames per second.

    An empty folder has no frame: it is a clip in which no face was found.
    """
    pictures = accepted_pictures(folder)
    if not pictures and any(file.is_file() and not file.name.startswith(".") for file in folder.iterdir()):
        raise DataError("has files, but no picture", str(folder), f"give pictures: {', '.join(PICTURES)}")
    for number, file in enumerate(pictures):
        yield VideoFrame(number, number / _FOLDER_RATE, partial(read_picture, file), 1.0, False)


def _whole_frames(windows: Sequence[FrameWindow]) -> list[list[DetectedFace]]:
    """A `Detector` for frames that are faces."""
    return [[DetectedFace(Box(0, 0, image.shape[1], image.shape[0]))] for image in (one.image_HWC for one in windows)]


def _state(last: Detected, turn: int, parts: Mapping[str, Stateful]) -> VideoState:
    """The state after a frame."""
    window, faces = last
    states = {name: part.state() for name, part in parts.items()}
    return VideoState(window.frame, window.seconds, window.shot, faces, turn, states)
