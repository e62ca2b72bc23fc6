"""Face detectors of a timeline: a locator of a plugin, or a csv file of boxes."""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from blear.contracts import Detection, Locator, TimedLocator
from blear.errors import DataError
from blear.imaging import Box
from blear.predict.video import FrameWindow

COLUMNS = ("time", "left", "top", "width", "height")
TOLERANCE_S = 0.02
_ALONE_BYTES = 12 << 20  # larger frames are detected one by one, without a copy
_KEPT_BYTES = 4 << 20  # largest frame that is kept with its faces


@dataclass(frozen=True)
class DetectedFace:
    """A detected face.

    Attributes:
        box: in pixels of the frame.
        score: the detector's confidence; None: it has none.
        points_52: five landmarks in the order of `Framing.points`, (x, y) in pixels of the frame; None: it has none.
        interpolated: the box lies between those of the detections before and after this frame.
    """

    box: Box
    score: float | None = None
    points_52: np.ndarray | None = field(default=None, compare=False)
    interpolated: bool = False


class Detector(Protocol):
    """Detects the faces in frames of a video."""

    def __call__(self, windows: Sequence[FrameWindow]) -> list[list[DetectedFace]]:
        """The faces in each window's last frame, most prominent face first."""
        ...


class LocatorDetector:
    """Detects faces with a locator, which is built when the first frames arrive.

    The faces of a frame that was given alone are kept: the search for turned faces and the prediction both begin with
    the first frame of a video.

    Args:
        build: builds the locator.
    """

    def __init__(self, build: Callable[[], Locator]) -> None:
        self._build = build
        self._kept: tuple[np.ndarray, list[DetectedFace]] | None = None

    def __call__(self, windows: Sequence[FrameWindow]) -> list[list[DetectedFace]]:
        """See `Detector`."""
        locator = self._locator
        if isinstance(locator, TimedLocator):
            detections = locator.faces_at([window.frame for window in windows], [window.seconds for window in windows])
            return [[_detected(one) for one in faces] for faces in detections]
        images = [window.image_HWC for window in windows]
        kept, self._kept = self._kept, None
        if kept is not None and np.array_equal(kept[0], images[0]):
            return [kept[1], *self._detect(images[1:])]
        found = self._detect(images)
        if len(images) == 1 and images[0].nbytes <= _KEPT_BYTES:
            self._kept = images[0], found[0]
        return found

    def _detect(self, images: Sequence[np.ndarray]) -> list[list[DetectedFace]]:
        if not images:
            return []
        if images[0].nbytes > _ALONE_BYTES:
            detections = [faces for image_HWC in images for faces in self._locator.faces(image_HWC[None])]
        else:
            detections = list(self._locator.faces(np.stack(images)))
        return [[_detected(one) for one in faces] for faces in detections]

    @property
    def is_table(self) -> bool:
        """Whether the faces of each frame are given, so that none needs to be interpolated."""
        return isinstance(self._locator, TimedLocator)

    @functools.cached_property
    def _locator(self) -> Locator:
        return self._build()


def _detected(detection: Detection) -> DetectedFace:
    return DetectedFace(detection.box, getattr(detection, "probability", None), getattr(detection, "points_52", None))


class BoxFileDetector:
    """Reads boxes from a csv file with the columns `time,left,top,width,height`.

    Times are seconds. `left` and `top` are 1-based: the upper left pixel is 1, 1. A row of zeros states that the frame
    has no face. The boxes of a frame are the rows of the nearest time, at most 20 ms away; several rows of one time are
    several faces.

    Raises:
        DataError: the file is missing or malformed, or a frame has no row.
    """

    is_table = True

    def __init__(self, file: Path) -> None:
        self.file = file
        table = _read_table(file)
        order = np.argsort(table[:, 0], kind="stable")
        self._times_N, self._boxes_N4 = table[order, 0], table[order, 1:]

    def __call__(self, windows: Sequence[FrameWindow]) -> list[list[DetectedFace]]:
        """See `Detector`."""
        return [[DetectedFace(box) for box in self._boxes_at(window.seconds)] for window in windows]

    def _boxes_at(self, seconds: float) -> list[Box]:
        nearest = int(np.argmin(np.abs(self._times_N - seconds)))
        if abs(self._times_N[nearest] - seconds) > TOLERANCE_S:
            what = f"no row within {TOLERANCE_S:g} s of the frame at {seconds:.3f} s"
            do = "add one row for each frame that is read, zeros where the frame has no face"
            raise DataError(what, str(self.file), do)
        rows = self._boxes_N4[self._times_N == self._times_N[nearest]]
        return [Box(left - 1, top - 1, width, height) for left, top, width, height in rows.tolist() if width > 0]


def _read_table(file: Path) -> np.ndarray:
    """The file's rows, float64 [N, 5], in the order of `COLUMNS`."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, skipinitialspace=True)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                do = f"the header must name {','.join(COLUMNS)}"
                raise DataError(f"lacks the columns: {', '.join(missing)}", f"{file}:1", do)
            table = [[_number(row[name], f"{file}:{rows.line_num}") for name in COLUMNS] for row in rows]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", str(file), "check the path") from error
    if not table:
        raise DataError("has no row", str(file), "add one row for each frame")
    return np.array(table)


def _number(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{text!r} is not a number", where, f"the columns are {','.join(COLUMNS)}")
    return value
