"""Who a face is from frame to frame: followed by overlap, or told by a tracker's file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from blear.errors import DataError
from blear.imaging import Box

Identity = int | str
"""A tracker's number, or a person's name."""


@dataclass(frozen=True)
class Face:
    """A face of one frame, and who it is."""

    box: Box
    id: Identity


class Identities(Protocol):
    """Says who the faces are; called for the frames in order."""

    def __call__(self, frame: int, boxes: Sequence[Box]) -> list[Face]:
        """The faces that have an identity."""
        ...


class ByOverlap:
    """Gives the number of the face before to the face that overlaps it most, all faces of a frame at once.

    Args:
        least: intersection over union below which it is another face.
        patience: frames that were looked at, for which a face may be lost and keep its number.
    """

    def __init__(self, least: float = 0.3, patience: int = 5) -> None:
        self.least, self.patience = least, patience
        self._last: dict[int, tuple[int, Box]] = {}
        self._looked, self._made = 0, 0

    def __call__(self, frame: int, boxes: Sequence[Box]) -> list[Face]:
        """Every face, with a number from 1."""
        self._looked += 1
        self._last = {who: seen for who, seen in self._last.items() if self._looked - seen[0] <= self.patience + 1}
        known = list(self._last)
        overlaps = np.array([[overlap(self._last[who][1], box) for box in boxes] for who in known])
        numbers: list[int | None] = [None] * len(boxes)
        if overlaps.size:
            for row, column in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
                if overlaps[row, column] >= self.least:
                    numbers[column] = known[row]
        faces = []
        for box, number in zip(boxes, numbers, strict=True):
            if number is None:
                self._made += 1
                number = self._made
            self._last[number] = self._looked, box
            faces.append(Face(box, number))
        return faces


class ByFile:
    """Takes the first face inside each person that a tracker saw in the frame; other faces are left out.

    The file is a JSON object: number of a frame -> list of {"id", "topleft": {"x", "y"}, "bottomright": {"x", "y"}}.
    VTT's tracker exchanges the two corners, so either may be the upper left one. An id that is no number is a name.

    Raises:
        DataError: the file is missing or not of this form.
    """

    def __init__(self, file: Path) -> None:
        self._people = _read(file)

    def __call__(self, frame: int, boxes: Sequence[Box]) -> list[Face]:
        """The first face whose centre lies in a person, for each person."""
        faces, left = [], list(boxes)
        for person in self._people.get(frame, ()):
            inside = next((box for box in left if _centre_inside(box, person.box)), None)
            if inside is not None:
                left.remove(inside)
                faces.append(Face(inside, person.id))
        return faces


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    common = max(0.0, width) * max(0.0, height)
    return common / (a.width * a.height + b.width * b.height - common)


def _centre_inside(face: Box, person: Box) -> bool:
    x, y = face.left + face.width / 2 - person.left, face.top + face.height / 2 - person.top
    return 0 <= x <= person.width and 0 <= y <= person.height


def _read(file: Path) -> Mapping[int, list[Face]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {int(frame): [_person(person) for person in people] for frame, people in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        do = 'it must be {"<frame>": [{"id": 1, "topleft": {"x": 0, "y": 0}, "bottomright": {"x": 9, "y": 9}}]}'
        raise DataError(f"cannot be read as tracks: {type(error).__name__}: {error}", str(file), do) from error


def _person(entry: Any) -> Face:
    (left, right), (top, bottom) = (
        sorted((float(entry["topleft"][axis]), float(entry["bottomright"][axis]))) for axis in ("x", "y")
    )
    who = entry["id"]
    name = not str(who).strip().lstrip("-").isdecimal()
    return Face(Box(left, top, right - left, bottom - top), str(who) if name else int(who))
