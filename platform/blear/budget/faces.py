"""The faces of the original video, and the predictions for the same faces in an encoded one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from blear.budget.encode import Encoded
from blear.errors import DataError
from blear.imaging import Box
from blear.predict.detectors import DetectedFace
from blear.predict.inputs import Input
from blear.predict.predictor import FacePredictor
from blear.predict.trackers import SinglePerson
from blear.predict.video import FrameWindow
from blear.video import VideoFrame


@dataclass(frozen=True)
class VideoFaces:
    """The faces in the chosen frames of a video.

    Attributes:
        boxes: number of a frame -> the boxes of its faces.
        seconds_N: time of each face, in the order of `boxes`.
        values_NK: prediction of one target for each face: probabilities, or one value.
    """

    boxes: dict[int, list[Box]]
    seconds_N: np.ndarray
    values_NK: np.ndarray


def original_faces(predictor: FacePredictor, video: Path, target: str) -> VideoFaces:
    """Detects and predicts the faces of the original.

    Raises:
        DataError: the video cannot be read, or shows no face.
    """
    boxes: dict[int, list[Box]] = {}
    seconds, values = [], []
    for face in predictor.predict(Input(video, is_picture=False)):
        boxes.setdefault(face.frame, []).append(face.box)
        seconds.append(face.seconds)
        values.append(face.prediction[target])
    if not values:
        raise DataError("no face was found", str(video), "give a video with faces, --min-face, or --crops")
    return VideoFaces(boxes, np.array(seconds), np.stack(values))


def encoded_values(
    predictor: FacePredictor, faces: VideoFaces, encoded: Encoded, file: Path, target: str
) -> np.ndarray:
    """The predictions for the faces of the original in an encoded video, at the same places, [N, K]."""
    table = OriginalBoxes(faces.boxes, encoded)
    own = replace(predictor, detector=table, tracker=SinglePerson, chooser=lambda: table.is_chosen, seconds=None)
    found = [face.prediction[target] for face in own.predict(Input(file, is_picture=False))]
    if len(found) != len(faces.seconds_N):
        what = f"{len(found)} of {len(faces.seconds_N)} faces are in the encoded video"
        raise DataError(what, str(file), "give a video without missing frames")
    return np.stack(found)


class OriginalBoxes:
    """A detector that returns the boxes of the original in pixels of the encoded video."""

    is_table = True

    def __init__(self, boxes: dict[int, list[Box]], encoded: Encoded) -> None:
        self._boxes, self._encoded = boxes, encoded

    def is_chosen(self, frame: VideoFrame) -> bool:
        """Whether a frame of the encoded video has faces."""
        numbers = self._encoded.numbers
        return frame.number < len(numbers) and numbers[frame.number] in self._boxes

    def __call__(self, windows: Sequence[FrameWindow]) -> list[list[DetectedFace]]:
        """See `Detector`."""
        across, down = self._encoded.scale
        return [
            [
                DetectedFace(Box(box.left / across, box.top / down, box.width / across, box.height / down))
                for box in self._boxes[self._encoded.numbers[window.frame]]
            ]
            for window in windows
        ]
