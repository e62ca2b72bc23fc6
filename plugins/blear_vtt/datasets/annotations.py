"""Parses entries of the JSON annotations of Friends and AnotherMissOh: emotion and face box (spec sections 2.3, 2.4).

Every function raises `DataError` for an invalid annotation.
"""

from __future__ import annotations

import math
from typing import Any

from blear.errors import DataError
from blear.imaging import Box
from blear_emotions.labels import FRIENDS, VTT, canonical

NONE = "none"
_SIDES = ("min_x", "min_y", "max_x", "max_y")


def parse_emotion(entry: Any, where: str) -> int | None:
    """Returns the class index in `labels.VTT` of an entry's `emotion` (case-insensitive); None for "none" or empty."""
    word = str(require_key(entry, "emotion", where)).strip() or NONE
    try:
        FRIENDS.index_of_word(word)
        name = canonical(word)
    except ValueError as error:
        raise DataError(str(error), where, "use the file as released") from error
    return None if name is None else VTT.index_of_word(name)


def parse_box(entry: Any, where: str) -> Box | str:
    """Returns an entry's `face_rect` in pixels, or the reason why there is no box."""
    rect = require_key(entry, "face_rect", where)
    if isinstance(rect, str) and rect.strip().lower() in ("", NONE):
        return "box none"
    sides = []
    for name in _SIDES:
        text = str(require_key(rect, name, where)).strip()
        if text.lower() in ("", NONE):
            return "box none"
        first = text.split("  ")[0]  # some entries hold two values
        try:
            value = float(first)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"face_rect.{name} {text!r} is not a number", where, "use the file as released")
        sides.append(value)
    left, top, right, bottom = sides
    return Box(left, top, right - left, bottom - top) if right > left and bottom > top else "box empty or inverted"


def require_key(value: Any, key: str, where: str) -> Any:
    """Returns the value of a key of a JSON object; both must exist."""
    found = require_object(value, f"what should have {key}", where)
    if key not in found:
        raise DataError(f"has no {key}", where, "use the file as released")
    return found[key]


def require_object(value: Any, what: str, where: str) -> dict[str, Any]:
    """Returns the value if it is a JSON object."""
    if not isinstance(value, dict):
        raise DataError(f"{what} is {type(value).__name__}, not an object", where, "use the file as released")
    return value


def require_list(value: Any, what: str, where: str) -> list[Any]:
    """Returns the value if it is a JSON list."""
    if not isinstance(value, list):
        raise DataError(f"{what} is {type(value).__name__}, not a list", where, "use the file as released")
    return value
