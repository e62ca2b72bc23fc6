"""The locator `faces/boxes`: faces from a table instead of a detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from blear.contracts import BuildContext
from blear.errors import DataError
from blear.imaging import Box
from blear_faces.locator_params import BoxesParams

_FRAME, _TIME = ("frame", "frames"), ("time", "seconds")
_PROBABILITY = ("probability", "detection")
_FORMS = (("left", "top", "width", "height"), ("left", "top", "right", "bottom"))


@dataclass(frozen=True)
class BoxFromTable:
    """A face of the table: box in pixels of the frame; probability in [0, 1], None where the table has none."""

    box: Box
    probability: float | None


class BoxesLocator:
    """Reads the faces of each frame of one video from a table.

    A row is one face: `frame` (number from 0) or `time` (seconds), and `left,top,width,height` or
    `left,top,right,bottom` in pixels; `probability` is optional. The outputs of `blear predict` are such tables. A row
    of width 0 states that the frame has no face, as does the absence of rows.

    Args:
        params: see `BoxesParams`.

    Raises:
        DataError: the table is missing, malformed, or lacks a column.
    """

    def __init__(self, params: BoxesParams) -> None:
        self.params = params
        table = _read(params.file)
        where = str(params.file)
        by_frame = next((name for name in _FRAME if name in table), None)
        by_time = next((name for name in _TIME if name in table), None)
        form = next((names for names in _FORMS if set(names) <= set(table.columns)), None)
        key = by_frame or by_time
        if key is None or form is None:
            what = f"lacks columns; it has: {', '.join(map(str, table.columns))}"
            do = "it needs frame or time, and left,top,width,height or left,top,right,bottom"
            raise DataError(what, where, do)
        numbers = np.array(table[[key, *form]].apply(pd.to_numeric, errors="coerce"), np.float64)
        wrong = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
        if len(wrong):
            raise DataError(f"row {wrong[0] + 1} has a value that is not a number", where, "correct the row")
        numbers[:, 1:3] -= params.first_pixel
        if form[2] == "right":
            numbers[:, 3:] -= numbers[:, 1:3] + params.first_pixel
        score = next((name for name in _PROBABILITY if name in table), None)
        self._by_time = by_frame is None
        self._keys_N = numbers[:, 0]
        self._faces = [
            BoxFromTable(Box(*row), None if score is None or pd.isna(value) else float(value))
            for row, value in zip(numbers[:, 1:].tolist(), table[score or key], strict=True)
        ]

    def faces(self, frames_THWC: np.ndarray) -> list[list[BoxFromTable]]:
        """The faces of the first T frames of the video; see `faces_at`.

        Raises:
            ValueError: the frames have another dtype or shape; or the table has times instead of frame numbers, and
                there is more than one frame.
        """
        if frames_THWC.ndim != 4 or frames_THWC.shape[3] != 3 or frames_THWC.dtype != np.uint8:
            raise ValueError(f"frames must be uint8 [T, H, W, 3], got {frames_THWC.dtype} {list(frames_THWC.shape)}")
        if self._by_time and len(frames_THWC) > 1:
            raise ValueError("the table has times, and these frames have none; add a column `frame`")
        return self.faces_at(range(len(frames_THWC)), [0.0] * len(frames_THWC))

    def faces_at(self, frames_T: Sequence[int], seconds_T: Sequence[float]) -> list[list[BoxFromTable]]:
        """The faces of frames of the video, the largest first.

        Args:
            frames_T: numbers of the frames, from 0.
            seconds_T: their times.
        """
        keys, tolerance = (seconds_T, self.params.tolerance) if self._by_time else (frames_T, 0.0)
        return [self._near(key, tolerance) for key in keys]

    def _near(self, key: float, tolerance: float) -> list[BoxFromTable]:
        away_N = np.abs(self._keys_N - key)
        if not len(away_N) or away_N.min() > tolerance:
            return []
        faces = [self._faces[row] for row in np.flatnonzero(away_N == away_N.min())]
        return sorted(filter(self._wanted, faces), key=lambda face: -face.box.width * face.box.height)

    def _wanted(self, face: BoxFromTable) -> bool:
        side = min(face.box.width, face.box.height)
        likely = face.probability is None or face.probability >= self.params.min_probability
        return side > 0 and side >= self.params.min_face and likely


def build_boxes(params: BoxesParams, context: BuildContext) -> BoxesLocator:
    """Builds the component `faces/boxes`."""
    return BoxesLocator(params)


def _read(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise DataError("there is no such table", str(file), "check the path")
    try:
        match file.suffix.lower():
            case ".parquet":
                return pd.read_parquet(file)
            case ".jsonl" | ".ndjson":
                return _with_corners(pd.read_json(file, lines=True))
            case ".csv" | ".tsv":
                separator = "\t" if file.suffix.lower() == ".tsv" else ","
                return pd.read_csv(file, sep=separator, skipinitialspace=True, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' parser errors and pyarrow's are ValueErrors
        raise DataError(f"cannot be read: {error}", str(file), "check the file") from error
    raise DataError(f"a table cannot end with {file.suffix!r}", str(file), "use csv, tsv, jsonl or parquet")


def _with_corners(table: pd.DataFrame) -> pd.DataFrame:
    """Replaces the column `coordinates` of `blear predict` by left, top, right, bottom."""
    if "coordinates" not in table:
        return table
    corners = pd.DataFrame(table["coordinates"].tolist(), columns=["left", "top", "right", "bottom"], index=table.index)
    return pd.concat([table.drop(columns="coordinates"), corners], axis=1)
