"""Timeline records, JSON Lines: what each face showed when (VTT, spec section 5.2), in our form and its consumer's.

records   {"type", "class", "seconds", "frames", "coordinates": [xmin, ymin, xmax, ymax], "id", "object", "score",
          "probabilities"}: every field of the published files; `frames` is the frame's number, `object` the place of
          the face among those of the frame, as text.
consumer  {"type", "class", "seconds", "object"}: `object` is {"id": "person_<name>"} where the face has a name, else
          {"coordinates": [x, y, width, height]}; what its schema requires, plus `score`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from blear.predict.tracks import Face

Format = Literal["records", "consumer"]


@dataclass(frozen=True)
class Record:
    """One face in one frame.

    Attributes:
        seconds: time stamp of the frame in the container.
        place: place of the face among those of the frame, from 0.
        probabilities: class -> probability; the class of the largest one is the face's.
    """

    frame: int
    seconds: float
    face: Face
    place: int
    probabilities: Mapping[str, float]

    @property
    def winner(self) -> str:
        """The most probable class, the first of equals."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    def as_line(self, form: Format, aliases: Mapping[str, str]) -> str:
        """One line of JSON, without its end.

        Args:
            form: which of the two forms.
            aliases: class -> the name that is written instead.
        """
        fields: dict[str, Any] = {
            "type": "emotion",
            "class": aliases.get(self.winner, self.winner),
            "seconds": round(self.seconds, 3),
        }
        score = round(self.probabilities[self.winner], 6)
        left, top, right, bottom = self._corners()
        if form == "consumer":
            named = isinstance(self.face.id, str)
            box = [left, top, right - left, bottom - top]
            fields["object"] = {"id": f"person_{self.face.id}"} if named else {"coordinates": box}
            return json.dumps(fields | {"score": score})
        fields |= {
            "frames": self.frame,
            "coordinates": [left, top, right, bottom],
            "id": self.face.id,
            "object": str(self.place),
            "score": score,
            "probabilities": {aliases.get(name, name): round(p, 6) for name, p in self.probabilities.items()},
        }
        return json.dumps(fields)

    def _corners(self) -> tuple[int, int, int, int]:
        box = self.face.box
        return round(box.left), round(box.top), round(box.left + box.width), round(box.top + box.height)
