"""The json member of a sample: its labels, the number of its frames, and the facts of the predictions table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from blear.contracts import Sample

MAX_BYTES = 1 << 24
"""A json member beyond this is broken: nothing that a sample says needs 16 MiB."""


@dataclass(frozen=True)
class Facts:
    """What a json member says; `problem` is the cause if it cannot be used, the other fields are the defaults then."""

    targets: Mapping[str, int | float] = field(default_factory=dict)
    frames: int = 1
    clean_frames: int = 1
    subject: str = ""
    video: str = ""
    time: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def write_facts(sample: Sample) -> bytes:
    """The json member of a sample."""
    facts: dict[str, Any] = {"targets": dict(sample.targets), "frames": len(sample.frames)}
    if sample.clean is not None:
        facts["clean_frames"] = len(sample.clean)
    facts |= {"subject": sample.subject, "video": sample.video, "time": sample.time, "meta": dict(sample.meta)}
    return json.dumps(facts, default=_plain, ensure_ascii=False).encode()


def read_facts(data: bytes | None) -> Facts:
    """What the json member `data` says; every key but `targets` may be missing. None: there is no such member."""
    if data is None:
        return Facts(problem="there is no json member")
    if len(data) > MAX_BYTES:
        return Facts(problem=f"the json member has more than {MAX_BYTES} bytes")
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):  # the latter: thousands of brackets
        return Facts(problem="the json member is not JSON")
    if not isinstance(given, dict) or not isinstance(given.get("targets"), dict):
        return Facts(problem="the json member has no `targets`")
    targets = {}
    for name, value in given["targets"].items():
        if _number(value) is None:
            return Facts(problem=f"target {name} is {_short(value)}, expected a number")
        targets[name] = value
    for name, kind in _KINDS.items():
        if not isinstance(given.get(name, kind[0]), kind[1]):
            return Facts(problem=f"{name} is {_short(given[name])} in the json member, expected {kind[2]}")
    time = given.get("time")
    if time is not None and _number(time) is None:
        return Facts(problem=f"time is {_short(time)} in the json member, expected seconds")
    frames, clean_frames = (_count(given.get(name, 1)) for name in ("frames", "clean_frames"))
    texts = {name: given[name] for name in _KINDS if name in given}
    return Facts(targets, frames, clean_frames, time=time, **texts)


_KINDS: dict[str, tuple[Any, type, str]] = {
    "subject": ("", str, "text"),
    "video": ("", str, "text"),
    "meta": ({}, dict, "columns"),
}


def _plain(value: Any) -> Any:
    """NumPy scalars, which datasets give as targets and columns, as plain numbers."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


def _number(value: Any) -> float | None:
    """The value as a float; None if it is no number, or one that no float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _count(value: Any) -> int:
    """A number of frames; 0, which no clip has, for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else 0


def _short(value: Any) -> str:
    """The value for a message: a huge integer cannot be printed, a long text should not be."""
    if isinstance(value, int) and not isinstance(value, bool):
        return "an integer that is too large" if abs(value) >= 2**64 else str(value)
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
