"""The json member of a sample: labels, number of frames, and columns of the predictions table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from blear.contracts import Sample

MAX_BYTES = 1 << 24
"""Largest json member that is parsed, 16 MiB; a larger one makes its sample broken."""


@dataclass(frozen=True)
class SampleMetadata:
    """Content of a json member.

    Attributes:
        targets: target name -> label.
        frames: number of frames of the clip; 0 where the member holds no valid number.
        clean_frames: the same of the clean clip.
        problem: why the member cannot be used; all other fields then have their defaults. Empty: it can be used.
    """

    targets: Mapping[str, int | float] = field(default_factory=dict)
    frames: int = 1
    clean_frames: int = 1
    subject: str = ""
    video: str = ""
    time: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def encode_metadata(sample: Sample) -> bytes:
    """Encodes the json member of a sample."""
    content: dict[str, Any] = {"targets": dict(sample.targets), "frames": len(sample.frames)}
    if sample.clean is not None:
        content["clean_frames"] = len(sample.clean)
    content |= {"subject": sample.subject, "video": sample.video, "time": sample.time, "meta": dict(sample.meta)}
    return json.dumps(content, default=_to_python_number, ensure_ascii=False).encode()


def parse_metadata(data: bytes | None) -> SampleMetadata:
    """Parses a json member; every key but `targets` may be missing.

    Args:
        data: the member; None where the sample has none.

    Returns:
        The content; `problem` is set where it cannot be used.
    """
    if data is None:
        return SampleMetadata(problem="there is no json member")
    if len(data) > MAX_BYTES:
        return SampleMetadata(problem=f"the json member has more than {MAX_BYTES} bytes")
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):  # RecursionError: thousands of nested brackets
        return SampleMetadata(problem="the json member is not JSON")
    if not isinstance(given, dict) or not isinstance(given.get("targets"), dict):
        return SampleMetadata(problem="the json member has no `targets`")
    targets = {}
    for name, value in given["targets"].items():
        if _to_float(value) is None:
            return SampleMetadata(problem=f"target {name} is {_short(value)}, expected a number")
        targets[name] = value
    for name, (default, kind, expected) in _FIELDS.items():
        if not isinstance(given.get(name, default), kind):
            return SampleMetadata(problem=f"{name} is {_short(given[name])} in the json member, expected {expected}")
    time = given.get("time")
    if time is not None and _to_float(time) is None:
        return SampleMetadata(problem=f"time is {_short(time)} in the json member, expected seconds")
    frames, clean_frames = (_frame_count(given.get(name, 1)) for name in ("frames", "clean_frames"))
    columns = {name: given[name] for name in _FIELDS if name in given}
    return SampleMetadata(targets, frames, clean_frames, time=time, **columns)


# field -> (default, type, description for messages)
_FIELDS: dict[str, tuple[Any, type, str]] = {
    "subject": ("", str, "text"),
    "video": ("", str, "text"),
    "meta": ({}, dict, "columns"),
}


def _to_python_number(value: Any) -> Any:
    """Converts a NumPy scalar, which a dataset may give as a target or column, to a Python number."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


def _to_float(value: Any) -> float | None:
    """Converts a value to float; None if it is not a number or exceeds the range of a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _frame_count(value: Any) -> int:
    """Returns a valid number of frames, or 0 for any other value."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else 0


def _short(value: Any) -> str:
    """Formats a value for a message; shortens long texts, and names integers that Python does not print."""
    if isinstance(value, int) and not isinstance(value, bool):
        return "an integer that is too large" if abs(value) >= 2**64 else str(value)
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
