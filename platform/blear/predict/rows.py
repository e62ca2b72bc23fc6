"""Rows of predictions: JSON Lines in the published timeline format with further fields, and flat rows for tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blear.errors import RunError
from blear.predict.predictor import FacePrediction

_FIELDS = (
    *("input", "type", "class", "seconds", "frames", "coordinates", "id", "object", "score", "probabilities"),
    *("abstained", "face_px", "detection", "interpolated", "damaged", "degradation", "smoothed"),
)
"""Fields of a record that are no targets."""

Labels = Mapping[str, Sequence[str]]
"""Class target -> names of the classes."""


def to_record(source: str, face: FacePrediction, labels: Labels, abstain: float) -> dict[str, Any]:
    """One face as a JSON object.

    `type`, `class`, `seconds`, `frames`, `coordinates` (xmin, ymin, xmax, ymax), `id`, `object`, `score` and
    `probabilities` are those of `blear timeline`; `type` is the first class target, and a model without class targets
    has none of `class`, `score` and `probabilities`. Further class targets are objects of their own name, regression
    targets are numbers. `smoothed` holds all of them as averages over time.

    Args:
        abstain: smallest probability of the most probable class; below it, `class` is null and `abstained` true.
    """
    classes = [target for target in face.prediction if target in labels]
    record: dict[str, Any] = {"input": source, "type": (classes or list(face.prediction))[0]}
    box = face.box
    place = {
        "seconds": round(face.seconds, 3),
        "frames": face.frame,
        "coordinates": [round(box.left), round(box.top), round(box.left + box.width), round(box.top + box.height)],
        "id": face.person,
        "object": str(face.index),
    }
    if classes:
        first = _class_fields(face.prediction[classes[0]], labels[classes[0]], abstain)
        record |= {"class": first.pop("class")} | place | first
    else:
        record |= place
    record |= _others(face.prediction, classes[:1], labels, abstain)
    record |= {
        "face_px": round(face.face_px, 1),
        "detection": None if face.score is None else round(face.score, 4),
        "interpolated": face.interpolated,
        "damaged": face.damaged,
        "degradation": {name: round(value, 3) for name, value in face.degradation.items()},
        "smoothed": _others(face.smoothed, (), labels, abstain),
    }
    return record


def _others(prediction: Mapping[str, np.ndarray], without: Sequence[str], labels: Labels, abstain: float) -> dict:
    return {
        target: _class_fields(values, labels[target], abstain) if target in labels else round(float(values[0]), 6)
        for target, values in prediction.items()
        if target not in without
    }


def _class_fields(probabilities: np.ndarray, classes: Sequence[str], abstain: float) -> dict[str, Any]:
    top = int(probabilities.argmax())
    score = float(probabilities[top])
    fields: dict[str, Any] = {"class": classes[top] if score >= abstain else None, "score": round(score, 6)}
    fields["probabilities"] = {name: round(float(value), 6) for name, value in zip(classes, probabilities, strict=True)}
    return fields | ({"abstained": True} if score < abstain else {})


def columns(targets: Sequence[str], labels: Labels) -> list[str]:
    """Names of the columns of a table, in order."""
    place = ["input", "seconds", "frame", "person", "object", "left", "top", "right", "bottom"]
    quality = ["face_px", "detection", "interpolated", "damaged", "blur", "blockiness", "noise"]
    predicted = []
    for target in targets:
        predicted.append(target)
        if target in labels:
            predicted += [f"{target}_score", *(f"{target}_{name}" for name in labels[target])]
        predicted.append(f"{target}_smoothed")
    return [*place, *quality, *predicted, "error"]


def require_free_names(targets: Sequence[str], labels: Labels) -> None:
    """Checks that no target has the name of another field of a record or of another column of a table.

    Raises:
        RunError: one has.
    """
    names = Counter([*columns(targets, labels), *(set(_FIELDS) - set(columns((), {})))])
    for target in targets:
        if names[target] > 1:
            do = "give it another name: --facts target=NAME for a network of others, else in its dataset"
            raise RunError(f"the target {target!r} has the name of another field of the output", target, do)


def error_row(source: str, reason: str, targets: Sequence[str], labels: Labels) -> dict[str, Any]:
    """The row of an input that cannot be read, or only in part: its name and the reason."""
    return dict.fromkeys(columns(targets, labels)) | {"input": source, "error": reason}


def to_table_row(record: Mapping[str, Any], targets: Sequence[str], labels: Labels) -> dict[str, Any]:
    """A record of `to_record` as one row of a table: column -> value."""
    left, top, right, bottom = record["coordinates"]
    row = {
        "input": record["input"],
        "seconds": record["seconds"],
        "frame": record["frames"],
        "person": str(record["id"]),
        "object": int(record["object"]),
        "left": left,
        "top": top,
        "right": right,
        "bottom": bottom,
        "face_px": record["face_px"],
        "detection": record["detection"],
        "interpolated": record["interpolated"],
        "damaged": record["damaged"],
        **{name: record["degradation"].get(name) for name in ("blur", "blockiness", "noise")},
    }
    for target in targets:
        fields, smoothed = record.get(target, record), record["smoothed"][target]
        if target in labels:
            row |= {
                target: fields["class"],
                f"{target}_score": fields["score"],
                f"{target}_smoothed": smoothed["class"],
            }
            row |= {f"{target}_{name}": value for name, value in fields["probabilities"].items()}
        else:
            row |= {target: fields, f"{target}_smoothed": smoothed}
    return row | {"error": None}
