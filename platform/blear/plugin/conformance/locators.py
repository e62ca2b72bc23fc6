"""Checks of a locator: detections of each frame, determinism, refusal of wrong input."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from blear.contracts import BuildContext, Detection, Locator
from blear.errors import BlearError
from blear.imaging import Box
from blear.plugin.catalog import RegisteredComponent
from blear.plugin.conformance.checks import Check, NotCheckedError, expect, for_each_example

_COUNT, _HEIGHT, _WIDTH = 3, 96, 128


def locator_checks(registered: RegisteredComponent) -> Iterator[Check]:
    """All checks of each example of a locator."""
    requirements = {
        "is a locator": _is_locator,
        "returns boxes for each frame": _detects,
        "is deterministic": _repeats,
        "accepts an empty batch of frames": _accepts_none,
        "refuses frames of another dtype or shape": _refuses,
    }
    yield from for_each_example(registered, requirements, lambda example: _build(registered, example))


def _build(registered: RegisteredComponent, example: Any) -> Any:
    for file in registered.component.params(**example).raw_files():
        if not file.exists():
            raise NotCheckedError(f"the example's file is missing: {file}")
    return registered.build(example, BuildContext())


def sample_frames() -> np.ndarray:
    """RGB uint8 [3, 96, 128, 3]: a drawn face, a black frame, and noise."""
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    frames_THWC = np.zeros((_COUNT, _HEIGHT, _WIDTH, 3), np.uint8)
    frames_THWC[0] = (90, 110, 130)
    for centre_x, centre_y, width, height, color in (
        (64, 48, 28, 36, (222, 180, 150)),
        (53, 40, 5, 3, (40, 30, 30)),
        (75, 40, 5, 3, (40, 30, 30)),
        (64, 66, 11, 4, (160, 70, 70)),
    ):
        frames_THWC[0][((x - centre_x) / width) ** 2 + ((y - centre_y) / height) ** 2 <= 1] = color
    frames_THWC[2] = np.random.default_rng(5).integers(0, 256, (_HEIGHT, _WIDTH, 3), dtype=np.uint8)
    return frames_THWC


def _boxes(locator: Any, frames_THWC: np.ndarray) -> list[list[Box]]:
    detections = locator.faces(frames_THWC)
    expect(isinstance(detections, Sequence), "faces", "a sequence with one entry for each frame", type(detections))
    expect(len(detections) == len(frames_THWC), "faces", f"{len(frames_THWC)} entries", len(detections))
    for of_frame in detections:
        expect(isinstance(of_frame, Sequence), "faces", "a sequence of detections for each frame", type(of_frame))
        for detection in of_frame:
            right = isinstance(detection, Detection) and isinstance(detection.box, Box)
            expect(right, "faces", "detections with a `box` (blear.imaging.Box)", repr(detection))
    return [[detection.box for detection in of_frame] for of_frame in detections]


def _is_locator(locator: Any) -> None:
    expect(isinstance(locator, Locator), "build", "a method faces (contracts.Locator)", type(locator).__name__)


def _detects(locator: Any) -> None:
    frames_THWC = sample_frames()
    boxes = _boxes(locator, frames_THWC)
    expect(bool((frames_THWC == sample_frames()).all()), "faces", "the frames to stay as they are", "changed frames")
    for box in (box for of_frame in boxes for box in of_frame):
        finite = all(map(math.isfinite, (box.left, box.top, box.width, box.height)))
        expect(finite and box.width > 0 and box.height > 0, "faces", "finite boxes with an area", box)
        inside = -box.width < box.left < _WIDTH and -box.height < box.top < _HEIGHT
        expect(inside, "faces", f"boxes that overlap the frame of {_WIDTH} x {_HEIGHT} pixels", box)


def _repeats(locator: Any) -> None:
    first, second = (_boxes(locator, sample_frames()) for _ in range(2))
    expect(first == second, "faces", f"the same boxes again: {first}", second)


def _accepts_none(locator: Any) -> None:
    _boxes(locator, sample_frames()[:0])


def _refuses(locator: Any) -> None:
    frames_THWC = sample_frames()
    for wrong, name in (
        (frames_THWC.astype(np.float32) / 255, "float32 frames"),
        (frames_THWC[0], "one frame without T"),
        (frames_THWC[..., :1], "frames of one channel"),
    ):
        try:
            locator.faces(wrong)
        except (ValueError, BlearError):
            continue
        expect(False, "faces", f"a ValueError for {name}", "a result")
