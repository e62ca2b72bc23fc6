"""Where the faces of a frame are: told by a file of boxes, or found by a locator that is named on the command line."""

from __future__ import annotations

import csv
import functools
import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from blear.errors import DataError, PluginError
from blear.imaging import Box
from blear.predict.video import Moment

COLUMNS = ("time", "left", "top", "width", "height")
TOLERANCE_S = 0.02


class Located(Protocol):
    """A face as a locator gives it."""

    @property
    def box(self) -> Box:
        """In pixels of the frame, 0-based."""
        ...


class Locator(Protocol):
    """What `module:attr` must name: called without arguments, it gives an object with this method."""

    def faces(self, frames_THWC: np.ndarray) -> Sequence[Sequence[Located]]:
        """The faces of each RGB uint8 frame, the most prominent first."""
        ...


class Finder(Protocol):
    """Finds the faces of moments of a video."""

    def __call__(self, moments: Sequence[Moment]) -> list[list[Box]]:
        """The boxes of each moment's frame, the most prominent first."""
        ...


class FoundByLocator:
    """Asks a locator; nothing is imported before the first frame.

    Args:
        name: "module:attr" of the locator's class, or of what makes it.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, moments: Sequence[Moment]) -> list[list[Box]]:
        """See `Finder`."""
        found = self._locator.faces(np.stack([moment.image_HWC for moment in moments]))
        return [[face.box for face in faces] for faces in found]

    @functools.cached_property
    def _locator(self) -> Any:
        module, _, attribute = self.name.partition(":")
        try:
            make: Any = functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
        except (ImportError, AttributeError, ValueError) as error:
            do = "name what makes a locator as module:attr, or give --boxes"
            raise PluginError(f"the face locator {self.name!r} cannot be imported: {error}", do=do) from error
        return make()


class FoundInFile:
    """Reads `time,left,top,width,height`: seconds and pixels counted from 1, zeros where there is no face.

    A frame has the rows of its own time, within 20 ms; several rows of one time are several faces.

    Raises:
        DataError: the file is missing or broken, or a frame has no row.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        table = _read(file)
        order = np.argsort(table[:, 0], kind="stable")
        self._times_N, self._boxes_N4 = table[order, 0], table[order, 1:]

    def __call__(self, moments: Sequence[Moment]) -> list[list[Box]]:
        """See `Finder`."""
        return [self._at(moment.seconds) for moment in moments]

    def _at(self, seconds: float) -> list[Box]:
        nearest = int(np.argmin(np.abs(self._times_N - seconds)))
        if abs(self._times_N[nearest] - seconds) > TOLERANCE_S:
            what = f"no row within {TOLERANCE_S:g} s of the frame at {seconds:.3f} s"
            raise DataError(what, str(self.file), "give one row for each frame that is looked at, zeros without a face")
        rows = self._boxes_N4[self._times_N == self._times_N[nearest]]
        return [Box(left - 1, top - 1, width, height) for left, top, width, height in rows.tolist() if width > 0]


def _read(file: Path) -> np.ndarray:
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
        raise DataError("has no row", str(file), "give one row for each frame")
    return np.array(table)


def _number(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{text!r} is not a number", where, f"the columns are {','.join(COLUMNS)}")
    return value
