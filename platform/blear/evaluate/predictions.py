"""The predictions table: one row for each arm, condition, sample and frame, in Parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from blear.contracts import Categories, Values
from blear.errors import RunError

SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("stage", pa.string()),
        ("sample", pa.string()),
        ("subject", pa.string()),
        ("video", pa.string()),
        ("time", pa.float64()),
        ("condition", pa.string()),
        ("severity", pa.float64()),
        ("kbps", pa.float64()),
        ("face_px", pa.float64()),
        ("found", pa.bool_()),
        ("target", pa.string()),
        ("truth", pa.float64()),
        ("prediction", pa.float64()),
        ("probabilities", pa.list_(pa.float32())),
        ("meta", pa.map_(pa.string(), pa.string())),
    ]
)
"""Columns. `time` in seconds, `kbps` in kbit/s, `face_px` the face's width; these three and `prediction` may be null.
`truth` and `prediction` hold a class index or a value; `probabilities` is null for values; `meta` holds the columns of
the samples' metadata that the job slices by, as texts, null where there are none."""
META = "meta"

_CLASSES = b"blear.classes"
_PRIORS = b"blear.priors"
_Numbers = Sequence[float | None] | np.ndarray | float | None


def rows(
    *,
    arm: str,
    stage: str,
    condition: str,
    severity: float,
    target: str,
    samples: Sequence[str],
    truth_B: np.ndarray,
    decoded: Values | Categories,
    subjects: Sequence[str] | None = None,
    videos: Sequence[str] | None = None,
    times: _Numbers = None,
    kbps: _Numbers = None,
    face_px: _Numbers = None,
    found: Sequence[bool] | np.ndarray | None = None,
    meta: Sequence[Mapping[str, str | int | float]] | None = None,
    priors: Mapping[str, Sequence[float]] | None = None,
) -> pa.Table:
    """The rows of B clips of one arm under one condition: B x T of them, the frames of a clip one after another.

    Args:
        samples, subjects, videos: B names each; left out, subjects and videos are empty.
        truth_B: class index or value of each clip, [B].
        decoded: what the head predicted, on the CPU; the predicted class is the most probable one.
        times, kbps, face_px: one number for all clips, or B of them; None and NaN become null.
        found: whether the face was found, [B]; left out, it always was.
        meta: column -> value of each clip, [B].
        priors: stage -> share of each class where it was trained, which answers for it where there is no face; left
            out, nothing does. The same in every table of a file.

    Raises:
        ValueError: a column whose length is not B.
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
    clips, frames = len(samples), predicted_BT.shape[1]
    columns = {
        "arm": [arm] * clips,
        "stage": [stage] * clips,
        "sample": samples,
        "subject": subjects if subjects is not None else [""] * clips,
        "video": videos if videos is not None else [""] * clips,
        "time": _numbers(times, clips),
        "condition": [condition] * clips,
        "severity": [severity] * clips,
        "kbps": _numbers(kbps, clips),
        "face_px": _numbers(face_px, clips),
        "found": found if found is not None else [True] * clips,
        "target": [target] * clips,
        "truth": np.asarray(truth_B, dtype=np.float64),
        META: [list({k: str(v) for k, v in one.items()}.items()) or None for one in meta] if meta else [None] * clips,
    }
    wrong = {name: len(column) for name, column in columns.items() if len(column) != clips}
    if wrong or len(predicted_BT) != clips:
        raise ValueError(f"{clips} samples, but columns of {wrong or {'prediction': len(predicted_BT)}}")
    repeat = pa.array(np.repeat(np.arange(clips), frames))
    arrays = {
        f.name: pa.array(columns[f.name], f.type, from_pandas=True).take(repeat) for f in SCHEMA if f.name in columns
    }
    arrays["prediction"] = pa.array(predicted_BT.ravel(), pa.float64(), from_pandas=True)
    arrays["probabilities"] = probabilities
    known = {_CLASSES: json.dumps(classes).encode()}
    if priors is not None:
        known[_PRIORS] = json.dumps({name: list(shares) for name, shares in priors.items()}).encode()
    schema = SCHEMA.with_metadata(known)
    return pa.Table.from_arrays([arrays[name] for name in SCHEMA.names], schema=schema)


def write_predictions(path: Path, tables: Iterable[pa.Table]) -> int:
    """Writes the tables as one Parquet file, at once or not at all; they are never all in memory.

    Returns:
        The number of rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    writer, count = None, 0
    try:
        for table in tables:
            writer = writer or pq.ParquetWriter(partial, SCHEMA.with_metadata(table.schema.metadata))
            writer.write_table(table)
            count += table.num_rows
        writer = writer or pq.ParquetWriter(partial, SCHEMA)
        writer.close()
        partial.replace(path)
    finally:
        if writer is not None:
            writer.close()  # closing twice is harmless
        partial.unlink(missing_ok=True)
    return count


def read_predictions(path: Path) -> pa.Table:
    """The whole predictions table.

    Raises:
        RunError: missing, not Parquet, or with other columns.
    """
    again = f"run `blear evaluate {path.parent}` again"
    if not path.is_file():
        raise RunError("there are no predictions yet", str(path), f"run `blear evaluate {path.parent}` first")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"cannot be read: {error}", str(path), again) from error
    if META not in table.column_names:  # a table of blear 0.1
        table = table.append_column(SCHEMA.field(META), pa.nulls(table.num_rows, SCHEMA.field(META).type))
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise RunError(f"columns missing: {', '.join(missing)}", str(path), again)
    try:
        return table.select(SCHEMA.names).cast(SCHEMA.with_metadata(table.schema.metadata))
    except (pa.ArrowException, ValueError) as error:
        raise RunError(f"a column has another type: {error}", str(path), again) from error


def class_names(table: pa.Table) -> tuple[str, ...]:
    """Names of the classes that the indices stand for; empty for values."""
    return tuple(json.loads((table.schema.metadata or {}).get(_CLASSES, b"[]")))


def class_priors(table: pa.Table) -> dict[str, list[float]]:
    """Stage -> share of each class, where these answer for decisions without a face; else empty."""
    return json.loads((table.schema.metadata or {}).get(_PRIORS, b"{}"))


def _numbers(given: _Numbers, count: int) -> Sequence[float | None]:
    if given is None or isinstance(given, int | float):
        return [given] * count
    return [None if value is None or value != value else float(value) for value in given]
