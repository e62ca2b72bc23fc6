"""Reads tables: csv, tsv, JSON Lines and Parquet, as columns with the place of each row."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blear.errors import DataError

_DELIMITERS = ",;\t|"
_ENDINGS = "csv, tsv, txt, jsonl, ndjson, parquet"


@dataclass(frozen=True)
class Table:
    """Columns of a table.

    Attributes:
        columns: name -> one value for each row; text in csv, any JSON value in others, None where a row lacks it.
        lines: place of each row in the file, from 1.
        unit: what `lines` count: line or row.
        where: path of the file.
    """

    columns: dict[str, list[Any]]
    lines: Sequence[int]
    unit: str
    where: str

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        """Names file and row for messages: `faces.csv, line 12`."""
        return f"{self.where}, {self.unit} {self.lines[row]}"


def read_table(path: Path, names: Sequence[str] = ()) -> Table:
    """Reads a table; the ending of its name gives the format.

    Args:
        path: of the file.
        names: columns to read from Parquet; empty: all.

    Raises:
        DataError: the file is missing, empty, damaged or of another format; names file and row.
    """
    if not path.is_file():
        raise DataError("there is no such table", str(path), "check the path")
    suffix = [end for end in path.suffixes if end != ".gz"][-1:]
    match suffix[0].lower() if suffix else "":
        case ".parquet" | ".pq":
            table = _read_parquet(path, names)
        case ".jsonl" | ".ndjson" | ".json":
            table = _read_json_lines(path)
        case ".csv" | ".tsv" | ".txt" | ".tab" as end:
            table = _read_csv(path, "\t" if end in (".tsv", ".tab") else "")
        case other:
            raise DataError(f"a table cannot end with {other or 'nothing'}", str(path), f"use one of {_ENDINGS}")
    if not len(table):
        raise DataError("the table has no rows", str(path), "check the file")
    return table


def _text(path: Path) -> str:
    """Reads a text file in UTF-8 or, with a byte order mark, UTF-16; a name that ends with .gz is decompressed."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix.lower() == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"the table cannot be read: {error}", str(path), "replace it by an intact copy") from error
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"not text in UTF-8: {error.reason}", f"{path}, line {line}", "save it as UTF-8") from error


def _read_csv(path: Path, delimiter: str) -> Table:
    text = _text(path)
    first = text.partition("\n")[0]
    delimiter = delimiter or max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header, rows, lines = None, [], []
    before = 0
    try:
        for row in reader:
            start, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = _header(row, str(path))
                continue
            if len(row) != len(header):
                do = f"quote fields that hold the delimiter {delimiter!r}, or complete the row"
                raise DataError(f"{len(row)} fields, the header has {len(header)}", f"{path}, line {start}", do)
            rows.append([cell.strip() for cell in row])
            lines.append(start)
    except csv.Error as error:
        raise DataError(f"not a csv: {error}", f"{path}, line {reader.line_num}", "fix the line") from error
    columns = dict(zip(header or [], (list(column) for column in zip(*rows, strict=True)), strict=False))
    return Table(columns, lines, "line", str(path))


def _header(row: Sequence[str], where: str) -> list[str]:
    names = [name.strip() for name in row]
    if twice := {name for name in names if name and names.count(name) > 1}:
        raise DataError(f"the header names the column {min(twice)!r} twice", where, "rename one")
    return names


def _read_json_lines(path: Path) -> Table:
    rows, lines = [], []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            do = "write one JSON object on each line"
            raise DataError(f"not JSON: {error}", f"{path}, line {number}", do) from error
        if not isinstance(row, dict):
            raise DataError("not a JSON object", f"{path}, line {number}", "write one JSON object on each line")
        rows.append(row)
        lines.append(number)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table({name: [row.get(name) for row in rows] for name in names}, lines, "line", str(path))


def _read_parquet(path: Path, names: Sequence[str]) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        known = [name for name in names if name in file.schema_arrow.names]
        table = file.read(columns=known or None)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"not a Parquet file: {error}", str(path), "replace it by an intact copy") from error
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    return Table(columns, range(1, table.num_rows + 1), "row", str(path))
