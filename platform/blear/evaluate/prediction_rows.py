"""Converts the decoded outputs of one batch into rows of the predictions table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from blear.contracts import Categories, Values
from blear.evaluate.predictions import CLASSES_KEY, META, PRIORS_KEY, SCHEMA, TARGETS_KEY, TRUTH_SHARES

Priors = Mapping[str, Sequence[float]] | Mapping[str, Mapping[str, Sequence[float]]]

_Numbers = Sequence[float | None] | np.ndarray | float | None


@dataclass(frozen=True)
class PredictionContext:
    """The columns that have one value for the whole batch.

    Attributes:
        arm: label of the arm.
        stage: stage whose model made the predictions.
        condition: label of the sweep, or "clean".
        severity: value of the swept parameter.
        target: name of the predicted quantity.
        seed: seed that the stage was trained with.
        classes: target -> class names, for every target of the data; regression targets have none.
    """

    arm: str
    stage: str
    condition: str
    severity: float
    target: str
    seed: int = 0
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipColumns:
    """The columns that have one value for each of the B clips.

    Attributes:
        samples: sample keys, B of them.
        subjects, videos: names, B of each; None: empty names.
        times, kbps, face_px: B numbers, or one number for all clips. None and NaN are written as null.
        found: whether a face was found, [B]; None: a face was found in every clip.
        meta: column name -> value of each clip, [B].
    """

    samples: Sequence[str]
    subjects: Sequence[str] | None = None
    videos: Sequence[str] | None = None
    times: _Numbers = None
    kbps: _Numbers = None
    face_px: _Numbers = None
    found: Sequence[bool] | np.ndarray | None = None
    meta: Sequence[Mapping[str, str | int | float]] = field(default_factory=tuple)


def prediction_rows(
    context: PredictionContext,
    clips: ClipColumns,
    truth_B: np.ndarray,
    decoded: Values | Categories,
    priors: Priors | None = None,
) -> pa.Table:
    """Builds the rows of B clips with T frames each: B x T rows, the frames of one clip in sequence.

    Args:
        context: arm, stage, condition, severity and target of the batch.
        clips: the columns with one value for each clip.
        truth_B: class index or regression value of each clip, [B]; of a distribution the shares, [B, K].
        decoded: the decoded output of the head, on the CPU. The predicted class is the most probable class.
        priors: stage -> share of each class in its training data; for several class targets, target -> such a mapping.
            The most frequent class replaces the prediction where no face was found. None: no replacement. All tables of
            one file must have the same priors.

    Raises:
        ValueError: the length of a column is not B.
    """
    if isinstance(decoded, Values):
        classes: tuple[str, ...] = ()
        predicted_BT = np.asarray(decoded.values_BT, dtype=np.float64)
        probabilities = pa.nulls(predicted_BT.size, SCHEMA.field("probabilities").type)
    else:
        classes = decoded.classes
        probabilities_BTK = np.asarray(decoded.probabilities_BTK, dtype=np.float32)
        predicted_BT = probabilities_BTK.argmax(axis=-1).astype(np.float64)
        flat_NK = probabilities_BTK.reshape(-1, probabilities_BTK.shape[-1])
        offsets = np.arange(len(flat_NK) + 1, dtype=np.int32) * flat_NK.shape[1]
        probabilities = pa.ListArray.from_arrays(offsets, flat_NK.ravel())
    columns = _clip_columns(context, clips, truth_B)
    count, frames = len(clips.samples), predicted_BT.shape[1]
    wrong = {name: len(column) for name, column in columns.items() if len(column) != count}
    if wrong or len(predicted_BT) != count:
        raise ValueError(f"{count} samples, but columns of {wrong or {'prediction': len(predicted_BT)}}")
    repeat = pa.array(np.repeat(np.arange(count), frames))
    arrays = {
        f.name: pa.array(columns[f.name], f.type, from_pandas=True).take(repeat) for f in SCHEMA if f.name in columns
    }
    arrays["prediction"] = pa.array(predicted_BT.ravel(), pa.float64(), from_pandas=True)
    arrays["probabilities"] = probabilities
    metadata = {CLASSES_KEY: json.dumps(classes).encode()}
    if priors is not None:
        metadata[PRIORS_KEY] = json.dumps(priors).encode()
    if context.classes:
        metadata[TARGETS_KEY] = json.dumps({name: list(names) for name, names in context.classes.items()}).encode()
    schema = SCHEMA.with_metadata(metadata)
    return pa.Table.from_arrays([arrays[name] for name in SCHEMA.names], schema=schema)


def _clip_columns(
    context: PredictionContext, clips: ClipColumns, truth_B: np.ndarray
) -> dict[str, Sequence[object] | np.ndarray]:
    """Column name -> B values, before they are repeated for each frame."""
    count, truth = len(clips.samples), np.asarray(truth_B, dtype=np.float64)
    meta = [list({k: str(v) for k, v in one.items()}.items()) or None for one in clips.meta]
    return {
        "arm": [context.arm] * count,
        "stage": [context.stage] * count,
        "seed": [context.seed] * count,
        "sample": clips.samples,
        "subject": clips.subjects if clips.subjects is not None else [""] * count,
        "video": clips.videos if clips.videos is not None else [""] * count,
        "time": _numbers(clips.times, count),
        "condition": [context.condition] * count,
        "severity": [context.severity] * count,
        "kbps": _numbers(clips.kbps, count),
        "face_px": _numbers(clips.face_px, count),
        "found": clips.found if clips.found is not None else [True] * count,
        "target": [context.target] * count,
        "truth": truth if truth.ndim == 1 else truth.argmax(axis=1).astype(np.float64),
        META: meta or [None] * count,
        TRUTH_SHARES: [None] * count if truth.ndim == 1 else truth.astype(np.float32).tolist(),
    }


def _numbers(given: _Numbers, count: int) -> Sequence[float | None]:
    if given is None or isinstance(given, int | float):
        return [given] * count
    return [None if value is None or value != value else float(value) for value in given]
