"""Writes finished predictions as JSON Lines, CSV or Parquet; the suffix of the file chooses the format."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from blear.errors import RunError
from blear.predict.journal import record_line
from blear.predict.rows import Labels, columns, error_row, to_table_row

SUFFIXES = (".jsonl", ".csv", ".parquet")
_ROWS = 10_000  # of a row group
_TEXT, _INTEGERS = ("input", "person", "error"), ("frame", "object", "left", "top", "right", "bottom")
_FLAGS = ("interpolated", "damaged")


def check_suffix(out: Path) -> None:
    """Raises a RunError where the suffix of the file is none of `SUFFIXES`."""
    if out.suffix not in SUFFIXES:
        raise RunError(f"the suffix {out.suffix!r} is no format", str(out), f"choose one of: {', '.join(SUFFIXES)}")


@dataclass(frozen=True)
class InputRecords:
    """The records of one input.

    Attributes:
        name: the input.
        records: of `to_record`, ordered by time.
        error: why the input could not be read, or only in part; None: it was read.
    """

    name: str
    records: Iterable[dict[str, Any]]
    error: str | None = None

    def rows(self, targets: Sequence[str], labels: Labels) -> Iterator[dict[str, Any]]:
        """Yields the rows of a table; the last row of a broken input has the reason in `error`."""
        yield from (to_table_row(record, targets, labels) for record in self.records)
        if self.error is not None:
            yield error_row(self.name, self.error, targets, labels)


def write_output(inputs: Iterable[InputRecords], out: Path, targets: Sequence[str], labels: Labels) -> None:
    """Writes the records of all inputs, to a temporary file that is renamed at the end.

    Tables have a row for each broken input. In Parquet, each input is one row group (of at most 10,000 rows; a larger
    input has several); inputs of one row, such as pictures, share a row group.
    """
    partial = out.with_name(f".{out.name}.writing")
    try:
        if out.suffix == ".jsonl":
            with partial.open("w", encoding="utf-8") as file:
                file.writelines(f"{record_line(record)}\n" for each in inputs for record in each.records)
        elif out.suffix == ".csv":
            with partial.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, columns(targets, labels))
                writer.writeheader()
                writer.writerows(row for each in inputs for row in each.rows(targets, labels))
        else:
            _write_parquet((each.rows(targets, labels) for each in inputs), partial, targets, labels)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _write_parquet(
    inputs: Iterable[Iterator[dict[str, Any]]], file: Path, targets: Sequence[str], labels: Labels
) -> None:
    import pyarrow as pa  # here and below: 40 MB that other formats do not need
    import pyarrow.parquet as pq

    text = {*_TEXT, *labels, *(f"{target}_smoothed" for target in labels)}
    types = {
        **dict.fromkeys(_FLAGS, pa.bool_()),
        **dict.fromkeys(_INTEGERS, pa.int32()),
        **dict.fromkeys(text, pa.string()),
    }
    schema = pa.schema([(name, types.get(name, pa.float64())) for name in columns(targets, labels)])
    with pq.ParquetWriter(file, schema) as writer:
        for part in _row_groups(inputs):
            writer.write_table(pa.Table.from_pylist(part, schema))


def _row_groups(inputs: Iterable[Iterator[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    """Yields the rows of each input, in parts of at most `_ROWS`; inputs of one row are joined."""
    single: list[dict[str, Any]] = []
    for rows in inputs:
        for part in iter(lambda rows=rows: list(islice(rows, _ROWS)), []):  # type: ignore[misc]
            if single and (len(part) > 1 or len(single) == _ROWS):
                yield single
                single = []
            if len(part) > 1:
                yield part
            else:
                single += part
    if single:
        yield single


def read_output(out: Path, targets: Sequence[str], labels: Labels) -> Iterator[dict[str, Any]]:
    """Yields the rows of a written output, as `to_table_row` makes them; numbers of a CSV file are parsed.

    Rows of broken inputs are left out.
    """
    if out.suffix == ".jsonl":
        with out.open(encoding="utf-8") as lines:
            for line in lines:
                yield to_table_row(json.loads(line), targets, labels)
    elif out.suffix == ".csv":
        text = {*_TEXT, *labels, *(f"{target}_smoothed" for target in labels), *_FLAGS}
        with out.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row.get("error"):
                    continue
                yield {name: value if name in text else float(value or "nan") for name, value in row.items()}
    else:
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(out).iter_batches(_ROWS):
            yield from (row for row in batch.to_pylist() if not row.get("error"))
