"""The predictions table: a Parquet file with one row for each arm, condition, severity, sample and frame."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from blear.errors import RunError
from blear.storage.durable import durable_file

SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("stage", pa.string()),
        ("seed", pa.int64()),
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
        ("truth_shares", pa.list_(pa.float32())),
    ]
)
"""Columns of the table. `time`, `kbps`, `face_px` and `prediction` may be null.

`seed` is the seed that the stage was trained with. `time` is in seconds, `kbps` in kbit/s, and `face_px` is the width
of the face in pixels. `truth` and `prediction` hold a class index or a regression value. `probabilities` is null for
regression targets. `meta` holds the metadata columns of `evaluate.slices` as strings, and is null for a sample without
such metadata. `truth_shares` holds the true shares of a distribution, whose `truth` is the class with the largest
share; it is null for other targets. A model with several targets has one row for each of them."""
META, SEED, TRUTH_SHARES = "meta", "seed", "truth_shares"
ROWS = "rows"
"""Column that pooled tables have beside those of `SCHEMA`: number of rows of a decision, which last equally long."""

CLASSES_KEY, PRIORS_KEY, TARGETS_KEY = b"blear.classes", b"blear.priors", b"blear.targets"
"""Keys of the file's metadata, all as JSON: the class names of the first target; the class priors, stage -> shares or,
for several class targets, target -> stage -> shares; target -> class names of every target of the data."""


def write_predictions(path: Path, tables: Iterable[pa.Table]) -> int:
    """Writes the tables to one Parquet file, atomically.

    The tables are written one at a time, so that `tables` can be a generator over more rows than fit into memory.

    Returns:
        The number of rows written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer, count = None, 0
    with durable_file(path) as partial:
        try:
            for table in tables:
                writer = writer or pq.ParquetWriter(partial, SCHEMA.with_metadata(table.schema.metadata))
                writer.write_table(table)
                count += table.num_rows
            writer = writer or pq.ParquetWriter(partial, SCHEMA)
        finally:
            if writer is not None:
                writer.close()
    return count


def read_predictions(path: Path) -> pa.Table:
    """Reads the whole predictions table.

    Raises:
        RunError: the file is missing, is not Parquet, or lacks a column.
    """
    again = f"run `blear evaluate {path.parent}` again"
    if not path.is_file():
        raise RunError("there are no predictions yet", str(path), f"run `blear evaluate {path.parent}` first")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"cannot be read: {error}", str(path), again) from error
    if META not in table.column_names:  # a file written by blear 0.1
        table = table.append_column(SCHEMA.field(META), pa.nulls(table.num_rows, SCHEMA.field(META).type))
    if SEED not in table.column_names:  # one seed, which run.json has
        table = table.append_column(SCHEMA.field(SEED), pa.array(np.zeros(table.num_rows, np.int64)))
    if TRUTH_SHARES not in table.column_names:  # a file without distributions, of an earlier version
        shares = SCHEMA.field(TRUTH_SHARES)
        table = table.append_column(shares, pa.nulls(table.num_rows, shares.type))
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise RunError(f"columns missing: {', '.join(missing)}", str(path), again)
    try:
        return table.select(SCHEMA.names).cast(SCHEMA.with_metadata(table.schema.metadata))
    except (pa.ArrowException, ValueError) as error:
        raise RunError(f"a column has another type: {error}", str(path), again) from error


def class_names(table: pa.Table) -> tuple[str, ...]:
    """Returns the class names of the first row's target in the order of the class indices; empty for regression."""
    metadata = table.schema.metadata or {}
    of_targets = json.loads(metadata.get(TARGETS_KEY, b"{}"))
    target = first_target(table)
    return tuple(of_targets[target] if target in of_targets else json.loads(metadata.get(CLASSES_KEY, b"[]")))


def has_class_target(table: pa.Table) -> bool:
    """Whether any target of the data has classes."""
    return any(json.loads((table.schema.metadata or {}).get(TARGETS_KEY, b"{}")).values()) or bool(class_names(table))


def first_target(table: pa.Table) -> str | None:
    """Returns the target of the first row; None for a table without rows."""
    return table["target"][0].as_py() if table.num_rows else None


def is_distribution(table: pa.Table) -> bool:
    """Whether the first row's target is a distribution over classes."""
    return bool(table.num_rows) and table[TRUTH_SHARES][0].is_valid


def class_priors(table: pa.Table) -> dict[str, list[float]]:
    """Returns stage -> share of each class in its training data, for the target of the first row.

    Empty where missing faces have no substitute class, and for a distribution.
    """
    if is_distribution(table):
        return {}
    found: dict[str, Any] = json.loads((table.schema.metadata or {}).get(PRIORS_KEY, b"{}"))
    nested = any(isinstance(value, dict) for value in found.values())
    return found.get(first_target(table) or "", {}) if nested else found
