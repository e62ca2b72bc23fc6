"""Writes finished predictions as JSON Lines, CSV or Parquet; the suffix of the file chooses the format."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from blear.errors import RunError
from blear.predict.rows import Labels, columns, to_table_row

SUFFIXES = (".jsonl", ".csv", ".parquet")
_ROWS = 10_000  # of a row group
_TEXT, _INTEGERS = ("input", "person"), ("frame", "object", "left", "top", "right", "bottom")
_FLAGS = ("interpolated", "damaged")


def check_suffix(out: Path) -> None:
    """Raises a RunError where the suffix of the file is none of `SUFFIXES`."""
    if out.suffix not in SUFFIXES:
        raise RunError(f"the suffix {out.suffix!r} is no format", str(out), f"choose one of: {', '.join(SUFFIXES)}")


def write_output(records: Iterable[dict[str, Any]], out: Path, targets: Sequence[str], labels: Labels) -> None:
    """Writes all records, to a temporary file that is renamed at the end."""
    partial = out.with_name(f".{out.name}.writing")
    try:
        if out.suffix == ".jsonl":
            with partial.open("w", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
        elif out.suffix == ".csv":
            with partial.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, columns(targets, labels))
                writer.writeheader()
                writer.writerows(to_table_row(record, targets, labels) for record in records)
        else:
            _write_parquet((to_table_row(record, targets, labels) for record in records), partial, targets, labels)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _write_parquet(rows: Iterator[dict[str, Any]], file: Path, targets: Sequence[str], labels: Labels) -> None:
    text = {*_TEXT, *labels, *(f"{target}_smoothed" for target in labels)}
    types = {
        **dict.fromkeys(_FLAGS, pa.bool_()),
        **dict.fromkeys(_INTEGERS, pa.int32()),
        **dict.fromkeys(text, pa.string()),
    }
    schema = pa.schema([(name, types.get(name, pa.float64())) for name in columns(targets, labels)])
    with pq.ParquetWriter(file, schema) as writer:
        while part := list(islice(rows, _ROWS)):
            writer.write_table(pa.Table.from_pylist(part, schema))


def read_output(out: Path, targets: Sequence[str], labels: Labels) -> Iterator[dict[str, Any]]:
    """Yields the rows of a written output, as `to_table_row` makes them; numbers of a CSV file are parsed."""
    if out.suffix == ".jsonl":
        with out.open(encoding="utf-8") as lines:
            for line in lines:
                yield to_table_row(json.loads(line), targets, labels)
    elif out.suffix == ".csv":
        text = {*_TEXT, *labels, *(f"{target}_smoothed" for target in labels), *_FLAGS}
        with out.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield {name: value if name in text else float(value or "nan") for name, value in row.items()}
    else:
        for batch in pq.ParquetFile(out).iter_batches(_ROWS):
            yield from batch.to_pylist()
