"""Timeline records in JSON Lines: one record for each face in each frame (VTT, spec section 5.2).

Two formats:

records   {"type", "class", "seconds", "frames", "coordinates": [xmin, ymin, xmax, ymax], "id", "object", "score",
          "probabilities"}: every field of the published files. `frames` is the number of the frame; `object` is the
          index of the face among the faces of the frame, as text.
consumer  {"type", "class", "seconds", "object"}, plus `score` and `id` (track): the schema of the knowledge-graph
          builder. `object` is {"id": "person_<name>"} where the face has a name, else {"coordinates": [x, y, width,
          height]}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from blear.predict.trackers import TrackedFace

Format = Literal["records", "consumer"]


@dataclass(frozen=True)
class Record:
    """One face in one frame.

    Attributes:
        frame: number of the frame in the video, from 0.
        seconds: time stamp of the frame, from the start of the video.
        face: box and identity of the face.
        index: index of the face among the faces of the frame, from 0.
        probabilities: class -> probability.
    """

    frame: int
    seconds: float
    face: TrackedFace
    index: int
    probabilities: Mapping[str, float]

    @property
    def top_class(self) -> str:
        """The most probable class; of equally probable ones, the first."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    def to_json(self, form: Format, aliases: Mapping[str, str]) -> str:
        """The record as one line of JSON, without a line break.

        Args:
            form: one of the two formats.
            aliases: class -> name to write in its place.
        """
        fields: dict[str, Any] = {
            "type": "emotion",
            "class": aliases.get(self.top_class, self.top_class),
            "seconds": round(self.seconds, 3),
        }
        score = round(self.probabilities[self.top_class], 6)
        left, top, right, bottom = self._corners()
        if form == "consumer":
            named = isinstance(self.face.id, str)
            box = [left, top, right - left, bottom - top]
            fields["object"] = {"id": f"person_{self.face.id}"} if named else {"coordinates": box}
            return json.dumps(fields | {"score": score, "id": self.face.id})
        fields |= {
            "frames": self.frame,
            "coordinates": [left, top, right, bottom],
            "id": self.face.id,
            "object": str(self.index),
            "score": score,
            "probabilities": {aliases.get(name, name): round(p, 6) for name, p in self.probabilities.items()},
        }
        return json.dumps(fields)

    def _corners(self) -> tuple[int, int, int, int]:
        box = self.face.box
        return round(box.left), round(box.top), round(box.left + box.width), round(box.top + box.height)
