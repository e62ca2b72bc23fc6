"""Sample faces at each level with what every arm said of them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.evaluate.predictions import class_names
from blear.evaluate.summarise import number
from blear.report.files import RunFiles


@dataclass(frozen=True)
class Said:
    """What one arm said of one face: text and, for classes, whether it is right."""

    text: str
    right: bool | None


@dataclass(frozen=True)
class Face:
    """One sample: its truth, its picture at each level (data URIs), and arm -> what it said at each level."""

    sample: str
    truth: str
    pictures: list[str]
    said: dict[str, list[Said]]


def sample_faces(run: RunFiles) -> list[Face]:
    """The faces of faces.npz with the predictions of each level; a clip is shown by its mean or most frequent class."""
    table = run.predictions
    levels = [(condition or run.info.sweep.condition, s) for condition, s in face_levels(run)]
    chosen = pc.is_in(table["sample"], value_set=pa.array(run.faces.samples, pa.string()))
    mask = pc.and_(chosen, pc.equal(table["target"], run.info.headline.target))
    names = ("arm", "sample", "condition", "severity", "found", "truth", "prediction", "probabilities")
    by_place: dict[tuple[str, str, tuple[str, float]], list[dict[str, object]]] = {}
    truths: dict[str, float] = {}
    is_class = False
    for row in table.filter(mask).select(names).to_pylist():
        by_place.setdefault((row["arm"], row["sample"], (row["condition"], row["severity"])), []).append(row)
        truths[row["sample"]] = row["truth"]
        is_class = is_class or row["probabilities"] is not None
    classes = class_names(table)
    faces = []
    for sample, frames in zip(run.faces.samples, run.faces.frames, strict=True):
        truth = truths.get(sample)
        said = {
            arm: [_said(by_place.get((arm, sample, level), []), truth, is_class, classes) for level in levels]
            for arm in run.summary.arms
        }
        faces.append(Face(sample, _name(truth, is_class, classes), [png(frame) for frame in frames], said))
    return faces


def face_levels(run: RunFiles) -> list[tuple[str, float]]:
    """(condition, severity) of each column of faces."""
    return list(zip(run.faces.conditions, run.faces.severities, strict=True))


def png(frame_HWC: np.ndarray) -> str:
    """A uint8 picture, grey or RGB, as a data URI."""
    ordered = frame_HWC[..., ::-1] if frame_HWC.shape[-1] == 3 else frame_HWC
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(ordered))
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode()


def _said(rows: Sequence[dict[str, object]], truth: float | None, is_class: bool, classes: Sequence[str]) -> Said:
    if not rows:
        return Said("–", None)
    values = np.array([row["prediction"] for row in rows if row["found"]], dtype=np.float64)
    if not len(values):
        return Said("no face", None)
    if not is_class:
        return Said(number(float(values.mean())), None)
    known, counts = np.unique(values, return_counts=True)
    value = float(known[counts.argmax()])
    return Said(_name(value, True, classes), value == truth)


def _name(value: float | None, is_class: bool, classes: Sequence[str]) -> str:
    if value is None:
        return "unknown"
    if not is_class:
        return number(value)
    return classes[int(value)] if int(value) < len(classes) else f"class {int(value)}"
