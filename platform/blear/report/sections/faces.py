"""Sample faces under every degradation, with the prediction of each arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.evaluate.markdown import format_number
from blear.job.schema import CLEAN
from blear.report.pictures import picture_uri
from blear.report.section import Section
from blear.report.text import class_name
from blear.report.view import View

_FACES_OF_LATER_SWEEPS = 2
_Level = tuple[str, float]


@dataclass(frozen=True)
class ArmPrediction:
    """The prediction of one arm for one face.

    Attributes:
        text: as shown on the page.
        correct: whether the predicted class is the true one; None for a regression target.
        probability: of the predicted class; None for a regression target.
    """

    text: str
    correct: bool | None
    probability: float | None = None


@dataclass(frozen=True)
class Face:
    """One sample: its truth, its picture at each level (data URIs), and arm -> its prediction at each level."""

    sample: str
    truth: str
    pictures: list[str]
    predictions: dict[str, list[ArmPrediction]]


@dataclass(frozen=True)
class Grid:
    """Faces under one degradation. `levels` are the names of the columns."""

    condition: str
    parameter: str
    levels: list[str]
    faces: list[Face]


def section(view: View) -> Section | None:
    """Returns a grid of the first run's sample faces for each condition; None without faces."""
    if not view.runs[0].faces.samples:
        return None
    grids = list(grids_of(view))
    return Section("faces", "Sample faces", context={"grids": grids})


def grids_of(view: View) -> list[Grid]:
    """Returns one grid for each condition.

    A clip has the picture of its first frame, and the mean or the most frequent class of its frames as prediction.
    """
    faces = view.runs[0].faces
    levels = [(c or view.first_sweep.condition, s) for c, s in zip(faces.conditions, faces.severities, strict=True)]
    predictions = _SamplePredictions(view, faces.samples)
    grids = []
    for count, sweep in enumerate(view.sweeps):
        first = count == 0
        columns = [i for i, (condition, _) in enumerate(levels) if condition == sweep.condition]
        columns = ([i for i, level in enumerate(levels) if level[0] == CLEAN] if first else []) + columns
        if not columns:
            continue
        rows = range(len(faces.samples) if first else min(_FACES_OF_LATER_SWEEPS, len(faces.samples)))
        grids.append(
            Grid(
                sweep.condition,
                sweep.parameter,
                ["clean" if levels[i][0] == CLEAN else f"{levels[i][1]:g}" for i in columns],
                [
                    predictions.face(faces.samples[row], faces.frames[row, columns], [levels[i] for i in columns])
                    for row in rows
                ],
            )
        )
    return grids


class _SamplePredictions:
    """The predictions of all arms for the shown samples at every level."""

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
        predictions = {arm: [self._prediction(arm, sample, level) for level in levels] for arm in self.arms}
        return Face(sample, text, [picture_uri(frame) for frame in frames], predictions)

    def _prediction(self, arm: str, sample: str, level: _Level) -> ArmPrediction:
        rows = self.rows.get((arm, sample, level), [])
        if not rows:
            return ArmPrediction("–", None)
        found = [row for row in rows if row["found"]]
        values = np.array([row["prediction"] for row in found], dtype=np.float64)
        if not found:
            return ArmPrediction("no face", None)
        if not self.classes:
            return ArmPrediction(format_number(float(values.mean())), None)
        known, counts = np.unique(values, return_counts=True)
        value = float(known[counts.argmax()])
        shares = np.array([row["probabilities"] for row in found], dtype=np.float64)
        return ArmPrediction(
            class_name(value, self.classes), value == self.truths.get(sample), float(shares[:, int(value)].mean())
        )
