"""Sample faces under every degradation with what each arm said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.evaluate.markdown import format_number
from blear.job.schema import CLEAN
from blear.report.pictures import picture
from blear.report.section import Section
from blear.report.text import class_name
from blear.report.view import View

_LATER = 2  # faces under the second and every further degradation
_Level = tuple[str, float]


@dataclass(frozen=True)
class Said:
    """What one arm said of one face: text and, for classes, whether it is right and how probable it was held."""

    text: str
    right: bool | None
    share: float | None = None


@dataclass(frozen=True)
class Face:
    """One sample: its truth, its picture at each level (data URIs), and arm -> what it said at each level."""

    sample: str
    truth: str
    pictures: list[str]
    said: dict[str, list[Said]]


@dataclass(frozen=True)
class Grid:
    """Faces under one degradation; `levels` name the columns."""

    condition: str
    parameter: str
    levels: list[str]
    faces: list[Face]


def section(view: View) -> Section | None:
    """The faces of the first run's faces.npz, a grid for each condition."""
    if not view.runs[0].faces.samples:
        return None
    grids = list(grids_of(view))
    return Section("faces", "Sample faces", facts={"grids": grids})


def grids_of(view: View) -> list[Grid]:
    """A clip is shown by its first frame, and by its mean or most frequent class."""
    faces = view.runs[0].faces
    places = [(c or view.main.condition, s) for c, s in zip(faces.conditions, faces.severities, strict=True)]
    said = _Said(view, faces.samples)
    grids = []
    for count, sweep in enumerate(view.sweeps):
        first = count == 0
        columns = [i for i, (condition, _) in enumerate(places) if condition == sweep.condition]
        columns = ([i for i, place in enumerate(places) if place[0] == CLEAN] if first else []) + columns
        if not columns:
            continue
        rows = range(len(faces.samples) if first else min(_LATER, len(faces.samples)))
        grids.append(
            Grid(
                sweep.condition,
                sweep.parameter,
                ["clean" if places[i][0] == CLEAN else f"{places[i][1]:g}" for i in columns],
                [
                    said.face(faces.samples[row], faces.frames[row, columns], [places[i] for i in columns])
                    for row in rows
                ],
            )
        )
    return grids


class _Said:
    """What the arms said of the shown samples, at every level."""

    def __init__(self, view: View, samples: Sequence[str]) -> None:
        self.classes = view.classes
        self.arms = [arm.label for arm in view.arms]
        self.rows: dict[tuple[str, str, _Level], list[dict[str, object]]] = {}
        self.truths: dict[str, float] = {}
        table = view.predictions
        names = ("arm", "sample", "condition", "severity", "found", "truth", "prediction", "probabilities")
        chosen = table.filter(pc.is_in(table["sample"], value_set=pa.array(samples, pa.string())))
        for row in chosen.select(names).to_pylist():
            level = (row["condition"], row["severity"])
            self.rows.setdefault((row["arm"], row["sample"], level), []).append(row)
            self.truths[row["sample"]] = row["truth"]

    def face(self, sample: str, frames: np.ndarray, levels: Sequence[_Level]) -> Face:
        truth = self.truths.get(sample)
        text = "unknown" if truth is None else class_name(truth, self.classes) if self.classes else format_number(truth)
        said = {arm: [self._said(arm, sample, level) for level in levels] for arm in self.arms}
        return Face(sample, text, [picture(frame) for frame in frames], said)

    def _said(self, arm: str, sample: str, level: _Level) -> Said:
        rows = self.rows.get((arm, sample, level), [])
        if not rows:
            return Said("–", None)
        found = [row for row in rows if row["found"]]
        values = np.array([row["prediction"] for row in found], dtype=np.float64)
        if not found:
            return Said("no face", None)
        if not self.classes:
            return Said(format_number(float(values.mean())), None)
        known, counts = np.unique(values, return_counts=True)
        value = float(known[counts.argmax()])
        shares = np.array([row["probabilities"] for row in found], dtype=np.float64)
        return Said(
            class_name(value, self.classes), value == self.truths.get(sample), float(shares[:, int(value)].mean())
        )
