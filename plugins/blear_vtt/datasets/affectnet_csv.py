"""AffectNet's first release: training.csv and validation.csv with face boxes, and the original pictures.

The csv files have 415,000 lines of about 1 kB (68 landmarks). One scan counts the rows and finds the byte offset of
each block. The name of a block contains its byte offset: another process can read the block without a scan.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from blear.errors import DataError
from blear.imaging import Box
from blear_emotions.labels import AFFECTNET
from blear_emotions.listed_paths import listed_path
from blear_vtt.datasets.stills import Still

COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
BLOCK = 4096
NO_BOX = "no box"
_FILES = {"train": "training.csv", "dev": "validation.csv"}
_BOX = COLUMNS[1:5]
_PICTURES = "Manually_Annotated_Images"


class CsvRelease:
    """Reader of the csv files and `Manually_Annotated_Images`. A file without a header has the official columns."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._scans: dict[str, tuple[Counter[int | str], list[str]]] = {}

    def counts(self, split: str) -> Counter[int | str]:
        """See `affectnet.Release`."""
        return self._scan(split)[0]

    def blocks(self, split: str) -> list[str]:
        """Names `<first row>-<last row>-<byte offset of the first row>`. Rows count from 1, without the header."""
        return self._scan(split)[1]

    def rows(self, split: str, block: str, wanted: Collection[int]) -> Iterator[tuple[int, Still]]:
        """See `affectnet.Release`."""
        ends = block.split("-")
        if len(ends) != 3 or not all(end.isdecimal() for end in ends):
            raise DataError(f"no part is called {block!r}", str(self._file(split)), "use the names that `parts` gives")
        first, last, offset = map(int, ends)
        with self._open(split) as file:
            columns = self._columns(split, file)
            file.seek(offset)
            for row in range(first, last + 1):
                fields = self._fields(split, file.readline(), row, columns)
                number = self._number(split, fields, row)
                if number in wanted and _has_box(fields):
                    yield number, self._still(split, fields, row)

    def _still(self, split: str, fields: dict[str, str], row: int) -> Still:
        where = self._where(split, row)
        path = listed_path(fields[COLUMNS[0]], where)
        if not path or path.startswith("/") or ".." in path.split("/"):
            do = "it must be a path below Manually_Annotated_Images"
            raise DataError(f"{path!r} is no picture of this folder", where, do)
        left, top, width, height = (_float(fields[name], name, where) for name in _BOX)
        if width <= 0 or height <= 0:
            do = "a face that was not found has a box of NULL"
            raise DataError(f"the box of {width:g} x {height:g} pixels has no area", where, do)
        meta: dict[str, str | int | float] = {"file": path}
        meta |= {name: _float(fields[name], name, where) for name in ("valence", "arousal")}
        picture = self._source / _PICTURES / path
        return Still(f"{split}/{row:07d}", picture, Box(left, top, width, height), (), where, meta)

    def _scan(self, split: str) -> tuple[Counter[int | str], list[str]]:
        if split not in self._scans:
            counts: Counter[int | str] = Counter()
            starts, row = [], 0
            with self._open(split) as file:
                columns = self._columns(split, file)
                offset = file.tell()
                for line in file:
                    if line.strip():  # many copies of the file end with blank lines
                        row += 1
                        if row % BLOCK == 1:
                            starts.append((row, offset))
                        fields = self._fields(split, line, row, columns)
                        number = self._number(split, fields, row)
                        counts[number if _has_box(fields) else NO_BOX] += 1
                    offset += len(line)
            blocks = [f"{first:07d}-{min(first + BLOCK - 1, row):07d}-{offset}" for first, offset in starts]
            self._scans[split] = counts, blocks
        return self._scans[split]

    def _file(self, split: str) -> Path:
        return self._source / _FILES[split]

    def _where(self, split: str, row: int) -> str:
        return f"{self._file(split)}, row {row}"

    def _open(self, split: str) -> BinaryIO:
        try:
            return self._file(split).open("rb")
        except OSError as error:
            what = f"cannot be read ({error.strerror})"
            raise DataError(what, str(self._file(split)), "give the folder of AffectNet as `source`") from error

    def _columns(self, split: str, file: BinaryIO) -> tuple[str, ...]:
        """Reads the column names. Afterwards the file position is at the first row."""
        names = tuple(_split(file.readline().decode("utf-8-sig", errors="replace")))
        if len(names) == len(COLUMNS) and "/" in names[0] and names[6].isdecimal():
            file.seek(0)
            return COLUMNS
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            what = f"the header has no column {', '.join(missing)}"
            raise DataError(what, str(self._file(split)), "use the csv file as released")
        return names

    def _fields(self, split: str, line: bytes, row: int, columns: tuple[str, ...]) -> dict[str, str]:
        fields = _split(line.decode("utf-8", errors="replace"))
        if len(fields) != len(columns):
            what = f"{len(fields)} columns instead of {len(columns)}"
            raise DataError(what, self._where(split, row), "the file may be cut off: fetch it again")
        return dict(zip(columns, fields, strict=True))

    def _number(self, split: str, fields: dict[str, str], row: int) -> int:
        text = fields["expression"]
        if text == "expression":
            do = "keep one table in the file: remove everything from this row on"
            raise DataError("the header is repeated: a second table begins here", self._where(split, row), do)
        if not text.isdecimal() or int(text) >= len(AFFECTNET):
            what = f"expression {text!r} is not one of 0 to {len(AFFECTNET) - 1}"
            raise DataError(what, self._where(split, row), "use the csv file as released")
        return int(text)


def _split(line: str) -> list[str]:
    """Splits one line of a csv file into fields without quotes and outer spaces."""
    try:
        return [field.strip() for field in next(csv.reader([line], skipinitialspace=True), [])]
    except csv.Error:  # a field of more than 128 kB
        return []


def _has_box(fields: dict[str, str]) -> bool:
    return all(fields[name].upper() != "NULL" for name in _BOX)


def _float(text: str, name: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{name} {text!r} is not a number", where, "use the csv file as released")
    return value
