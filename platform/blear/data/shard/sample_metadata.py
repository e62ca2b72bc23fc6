"""The json member of a sample: labels, number of frames, and columns of the predictions table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from blear.contracts import Label, Sample

MAX_BYTES = 1 << 24
"""Largest json member that is parsed, 16 MiB; a larger one makes its sample broken."""


@dataclass(frozen=True)
class SampleMetadata:
    """Content of a json member.

    Attributes:
        targets: target name -> label; the shares of a distribution are a tuple.
        frames: number of frames of the clip; 0 where the member holds no valid number.
        clean_frames: the same of the clean clip.
        problem: why the member cannot be used; all other fields then have their defaults. Empty: it can be used.
    """

    targets: Mapping[str, int | float | tuple[float, ...]] = field(default_factory=dict)
    frames: int = 1
    clean_frames: int = 1
    subject: str = ""
    video: str = ""
    time: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    def label_columns(self) -> dict[str, int | float]:
        """Returns column name -> number: a distribution `votes` has one column for each class, `votes[0]` and so on."""
        columns: dict[str, int | float] = {}
        for name, label in self.targets.items():
            if isinstance(label, tuple):
                columns |= {share_column(name, number): share for number, share in enumerate(label)}
            else:
                columns[name] = label
        return columns


def share_column(target: str, number: int) -> str:
    """Returns the column name of the share of class `number`, for instance `votes[3]`."""
    return f"{target}[{number}]"


def target_of_column(column: str) -> str:
    """Returns the target of a column, for instance `votes` of `votes[3]` and `emotion` of `emotion`."""
    return _SHARE.sub("", column)


_SHARE = re.compile(r"\[\d+\]$")


def encode_metadata(sample: Sample) -> bytes:
    """Encodes the json member of a sample."""
    content: dict[str, Any] = {"targets": _to_json(sample.targets), "frames": len(sample.frames)}
    if sample.clean is not None:
        content["clean_frames"] = len(sample.clean)
    content |= {"subject": sample.subject, "video": sample.video, "time": sample.time, "meta": dict(sample.meta)}
    return json.dumps(content, default=to_python_number, ensure_ascii=False).encode()


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
    targets: dict[str, int | float | tuple[float, ...]] = {}
    for name, value in given["targets"].items():
        shares = isinstance(value, list) and len(value) > 0
        if any(_to_float(number) is None for number in (value if shares else [value])):
            return SampleMetadata(problem=f"target {name} is {_short(value)}, expected a number")
        targets[name] = tuple(value) if shares else value
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


def _to_json(targets: Mapping[str, Label]) -> dict[str, Any]:
    """Converts distributions to lists of float32 shares; other labels are kept."""
    return {
        name: label if np.ndim(label) == 0 else np.asarray(label, dtype=np.float32).tolist()
        for name, label in targets.items()
    }


def to_python_number(value: Any) -> Any:
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
