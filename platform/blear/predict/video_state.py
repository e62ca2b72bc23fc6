"""State of the prediction of a video between two batches of frames, as JSON. An interrupted video continues from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from blear.imaging import Box
from blear.predict.detectors import DetectedFace
from blear.predict.video import FrameWindow


@runtime_checkable
class Stateful(Protocol):
    """A part of the prediction that depends on earlier frames."""

    def state(self) -> Any:
        """The state as values that JSON can hold."""
        ...

    def restore(self, state: Any) -> None:
        """Continues from a state of `state`."""
        ...


@dataclass(frozen=True)
class VideoState:
    """Everything that the predictions of the following frames depend on, besides the frames.

    Attributes:
        frame, seconds, shot: of the last predicted frame, see `FrameWindow`.
        faces: the faces that were detected in this frame.
        turn: see `UprightVideo`.
        parts: states of the tracker, if it is `Stateful`, of the smoother and of the detector.
    """

    frame: int
    seconds: float
    shot: int
    faces: Sequence[DetectedFace]
    turn: int
    parts: Mapping[str, Any]

    @property
    def last_detection(self) -> tuple[FrameWindow, list[DetectedFace]]:
        """The last predicted frame, without images, and its faces."""
        return FrameWindow(self.frame, self.seconds, (), shot=self.shot), list(self.faces)

    def to_json(self) -> dict[str, Any]:
        """The fields as values that JSON can hold. Numbers are exact."""
        faces = [
            {
                "box": [float(side) for side in (face.box.left, face.box.top, face.box.width, face.box.height)],
                "score": None if face.score is None else float(face.score),
                "points": None if face.points_52 is None else array_to_json(face.points_52),
                "interpolated": face.interpolated,
            }
            for face in self.faces
        ]
        place = {"frame": self.frame, "seconds": self.seconds, "shot": self.shot}
        return {**place, "faces": faces, "turn": self.turn, "parts": dict(self.parts)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> VideoState:
        """The state that `to_json` wrote."""
        faces = [
            DetectedFace(
                Box(*face["box"]),
                face["score"],
                None if face["points"] is None else array_from_json(face["points"]),
                face["interpolated"],
            )
            for face in fields["faces"]
        ]
        return cls(fields["frame"], fields["seconds"], fields["shot"], faces, fields["turn"], fields["parts"])


def array_to_json(array: np.ndarray) -> dict[str, Any]:
    """Type and values of an array; the numbers are exact."""
    return {"dtype": str(array.dtype), "values": array.tolist()}


def array_from_json(fields: Mapping[str, Any]) -> np.ndarray:
    """The array of `array_to_json`."""
    return np.array(fields["values"], np.dtype(fields["dtype"]))
