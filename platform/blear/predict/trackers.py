"""Face trackers assign an identity to each detected face. Here: identities from the file of another tracker."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from blear.errors import DataError
from blear.imaging import Box
from blear.predict.detectors import DetectedFace
from blear.predict.video import FrameWindow

TrackId = int | str
"""Number of a track, or name of a person."""


@dataclass(frozen=True)
class TrackedFace:
    """A face in one frame with the identity of its track."""

    box: Box
    id: TrackId


class FaceTracker(Protocol):
    """Assigns identities to faces. It is called once for each frame, in order."""

    def __call__(self, window: FrameWindow, detected: Sequence[DetectedFace]) -> list[TrackedFace]:
        """The faces of a frame that belong to a track.

        Args:
            window: the frame.
            detected: the detected faces of the frame.
        """
        ...


class SinglePerson:
    """Gives all faces the identity 1: frames that are cut faces show one person."""

    def __call__(self, window: FrameWindow, detected: Sequence[DetectedFace]) -> list[TrackedFace]:
        """Every face, in the order of `detected`."""
        return [TrackedFace(face.box, 1) for face in detected]


class FileTracker:
    """Assigns faces to the persons in a tracker's JSON file.

    A person gets the first face whose centre lies inside the person's box. Faces without a person are dropped.

    The file is an object: frame number -> list of {"id", "topleft": {"x", "y"}, "bottomright": {"x", "y"}}. The two
    corners may be exchanged, as VTT's tracker writes them. An id that is not a whole number is a person's name.

    A folder holds one JSON file for each frame, with that list, or with an object whose only value it is. The last
    number in the file's name is the number of the frame: `00012.json`, `ep06_frame_12.json`.

    Raises:
        DataError: the file or folder is missing or malformed, or two files are of one frame.
    """

    def __init__(self, file: Path) -> None:
        self._people = _read_people(file)

    def __call__(self, window: FrameWindow, detected: Sequence[DetectedFace]) -> list[TrackedFace]:
        """At most one face for each person of the frame, in the order of the file."""
        faces, unassigned = [], [face.box for face in detected]
        for person in self._people.get(window.frame, ()):
            inside = next((box for box in unassigned if _centre_inside(box, person.box)), None)
            if inside is not None:
                unassigned.remove(inside)
                faces.append(TrackedFace(inside, person.id))
        return faces


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    common = max(0.0, width) * max(0.0, height)
    return common / (a.width * a.height + b.width * b.height - common)


def _centre_inside(face: Box, person: Box) -> bool:
    x, y = face.left + face.width / 2 - person.left, face.top + face.height / 2 - person.top
    return 0 <= x <= person.width and 0 <= y <= person.height


def _read_people(file: Path) -> Mapping[int, list[TrackedFace]]:
    """Frame number -> the persons in it."""
    if file.is_dir():
        return _read_folder(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        return {int(frame): [_parse_person(person) for person in people] for frame, people in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        do = 'it must be {"<frame>": [{"id": 1, "topleft": {"x": 0, "y": 0}, "bottomright": {"x": 9, "y": 9}}]}'
        raise DataError(f"cannot be read as tracks: {type(error).__name__}: {error}", str(file), do) from error


def _read_folder(folder: Path) -> Mapping[int, list[TrackedFace]]:
    found: dict[int, list[TrackedFace]] = {}
    files = sorted(file for file in folder.glob("*.json") if not file.name.startswith("."))
    if not files:
        raise DataError("has no JSON file", str(folder), "give a folder with one JSON file for each frame")
    for file in files:
        numbers = re.findall(r"\d+", file.stem)
        if not numbers:
            raise DataError("has no number of a frame in its name", str(file), "call it by the frame: 00012.json")
        frame = int(numbers[-1])
        if frame in found:
            raise DataError(f"is the second file of frame {frame}", str(file), "keep one of them")
        try:
            content = json.loads(file.read_text(encoding="utf-8-sig"))
            if isinstance(content, dict) and len(content) == 1:
                (content,) = content.values()
            found[frame] = [_parse_person(person) for person in content]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            do = 'it must be [{"id": 1, "topleft": {"x": 0, "y": 0}, "bottomright": {"x": 9, "y": 9}}]'
            raise DataError(f"cannot be read as tracks: {type(error).__name__}: {error}", str(file), do) from error
    return found


def _parse_person(entry: Any) -> TrackedFace:
    (left, right), (top, bottom) = (
        sorted((float(entry["topleft"][axis]), float(entry["bottomright"][axis]))) for axis in ("x", "y")
    )
    person_id = entry["id"]
    is_name = not str(person_id).strip().lstrip("-").isdecimal()
    return TrackedFace(Box(left, top, right - left, bottom - top), str(person_id) if is_name else int(person_id))
