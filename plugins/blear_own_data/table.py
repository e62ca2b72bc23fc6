"""The dataset `table`: pictures or videos that a table lists, with their labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from blear.contracts import BuildContext, Label, Sample, Target
from blear.errors import DataError
from blear.imaging import Box, Framing
from blear_own_data.blocks import block_names, find_block
from blear_own_data.keys import unique_keys
from blear_own_data.labels import Labels, as_number, as_text, find_labels, is_missing
from blear_own_data.left_out import LeftOut
from blear_own_data.media import ClipReader, one_kind
from blear_own_data.splitting import assign_splits, known_split, sort_splits
from blear_own_data.table_boxes import read_box
from blear_own_data.table_files import read_table
from blear_own_data.table_params import TableParams
from blear_own_data.table_paths import column, path_column, resolve

_SPLIT = re.compile(r"[^A-Za-z0-9_-]+")


class Table:
    """A `contracts.Dataset` of the rows of a table, in their order.

    Raises:
        DataError: the table is damaged, a column is missing, a label is wrong, or more files are missing or damaged
            than `max_broken` allows; names file and row.
    """

    terms = "Pictures of your own."

    def __init__(self, params: TableParams, context: BuildContext) -> None:
        self._params, self._table = params, read_table(params.source)
        self._where = str(params.source)
        for purpose in ("key", "subject", "video", "time", "split"):
            if (name := getattr(params, purpose)) is not None:
                column(self._table, name, purpose)
        self._texts = [as_text(text) if text else "" for text in self._column(path_column(params, self._table))]
        self._columns = {name: self._label_columns(name) for name in params.targets}
        self._labels = {name: self._find_labels(name) for name in params.targets}
        self.targets: Sequence[Target] = tuple(labels.target for labels in self._labels.values())
        self._broken = LeftOut(params.max_broken, self._where)
        self._root = params.root or params.source.parent
        self._unnamed = 0
        self._rows: dict[int, dict[str, Label]] = {}
        for row in range(len(self._table)):
            self._add_row(row)
        if not self._rows:
            raise DataError("no row can be used", self._where, "check paths and labels")
        for target in self.targets:
            if target.kind == "class" and len(target.classes) < 2:
                what = f"the only class of {target.name!r} is {', '.join(target.classes) or 'none'}"
                raise DataError(what, self._where, "give two classes or more, or set `kind: value`")
        self._keys = self._make_keys()
        self._reader = ClipReader(
            params, params.height_width, one_kind([self._texts[row] for row in self._rows], self._where)
        )
        self.clip = self._reader.clip
        self.framing = self._framing()
        self._split_of = dict(zip(self._rows, self._splits(), strict=True))
        self.splits = sort_splits(list(self._split_of.values()))

    def parts(self, split: str) -> Sequence[str]:
        """Names of blocks of rows, `<first>-<last>`."""
        return block_names(len(self._numbers(split)), self._reader.videos)

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """The rows of a block."""
        rows = self._numbers(split)
        left_out = LeftOut(self._params.max_broken, self._where)
        for row in (rows[n] for n in find_block(part, len(rows), self._reader.videos, self._where)):
            try:
                frames = self._reader.read(
                    resolve(self._texts[row], self._root), self._table.place(row), self._box(row)
                )
            except DataError as error:
                left_out.add(error)
                continue
            yield Sample(
                self._keys[row],
                frames,
                self._rows[row],
                subject=self._text(self._params.subject, row),
                video=self._text(self._params.video, row),
                time=self._time(row),
            )

    def describe(self) -> Mapping[str, str]:
        """Rows that are left out, and the reason."""
        lines = {}
        if self._broken.count:
            lines["unusable rows"] = f"{self._broken.count}, left out by `max_broken`"
        if self._unnamed:
            lines["left out"] = f"{self._unnamed} rows of classes or splits without a name"
        return lines

    def _framing(self) -> Framing | None:
        """How faces are cut out of the pictures; None where the table has no boxes, or the cut faces are fitted."""
        params = self._params
        height, width = params.height_width
        if params.box is None or not (params.fit == "stretch" or (params.square and height == width)):
            return None
        return Framing("box", margin=params.margin, unit="sides", aspect=1.0 if params.square else None)

    def _column(self, name: str) -> list[object]:
        return self._table.columns[name]

    def _label_columns(self, name: str) -> list[str]:
        label = self._params.label(name)
        if label.columns is None:
            return [column(self._table, label.column or name, f"targets.{name}")]
        names = label.columns if isinstance(label.columns, list) else label.columns.values()
        return [column(self._table, each, f"targets.{name}") for each in names]

    def _find_labels(self, name: str) -> Labels:
        label, columns = self._params.label(name), self._columns[name]
        if label.columns is not None or label.kind == "distribution":
            classes = tuple(map(str, label.columns or label.classes or ()))
            return Labels(Target(name, "distribution", classes), {})
        return find_labels(name, label, self._column(columns[0]), f"{self._where}, column {columns[0]}")

    def _add_row(self, row: int) -> None:
        """Converts the labels of a row, unless it is left out."""
        place = self._table.place(row)
        if self._split_name(row) is None:
            self._unnamed += 1
            return
        try:
            labels = {name: self._convert(name, row, place) for name in self._labels}
            self._box(row)
            self._time(row)
            if not self._texts[row]:
                raise DataError("the path is missing", place, "complete the row")
            path = resolve(self._texts[row], self._root)
            if not path.is_file():
                do = "check the path, and `root`, to which relative paths are added"
                raise DataError(f"there is no file {path}", place, do)
        except DataError as error:
            self._broken.add(error)
            return
        if any(label is None for label in labels.values()):
            self._unnamed += 1
            return
        self._rows[row] = {name: label for name, label in labels.items() if label is not None}

    def _convert(self, name: str, row: int, place: str) -> Label | None:
        values = [self._column(each)[row] for each in self._columns[name]]
        one = self._params.label(name).columns is None
        try:
            return self._labels[name].convert(values[0] if one else values)
        except ValueError as error:
            names = ", ".join(self._columns[name])
            raise DataError(f"target {name} (column {names}) {error}", place, "fix the row") from error

    def _make_keys(self) -> dict[int, str]:
        """Makes a key for each row: from its column, else from the path; rows of one file get numbers."""
        if self._params.key is not None:
            texts = [self._text(self._params.key, row) for row in self._rows]
            where = f"{self._where}, column {self._params.key}"
            if len(set(texts)) < len(texts) or not all(texts):
                raise DataError("the keys are not unique, or some are missing", where, "remove `key`")
            return dict(zip(self._rows, unique_keys([f"{text}.x" for text in texts]), strict=True))
        texts = [self._texts[row].replace("\\", "/") for row in self._rows]
        return dict(zip(self._rows, unique_keys(_numbered(texts)), strict=True))

    def _splits(self) -> list[str]:
        given = [self._split_name(row) or "" for row in self._rows]
        names = [self._text(self._params.subject, row) or self._text(self._params.video, row) for row in self._rows]
        files = [self._texts[row] for row in self._rows]
        return assign_splits(given, _groups(names, files), self._params, self._where)

    def _split_name(self, row: int) -> str | None:
        """Name of a row's split, empty if the table has none; None if the job leaves the split out."""
        text = self._text(self._params.split, row)
        if self._params.splits is not None:
            names = {as_text(value): name for value, name in self._params.splits.items()}
            if text not in names:
                do = f"name it in `splits`, or leave it out: {{{text}: null}}"
                raise DataError(f"`splits` does not name the split {text!r}", self._table.place(row), do)
            return names[text]
        return known_split(text) or _SPLIT.sub("_", text)

    def _box(self, row: int) -> Callable[[int, int], Box] | None:
        if self._params.box is None:
            return None
        columns: dict[str, Any] = {
            side: self._column(column(self._table, name, f"box.{side}"))[row] for side, name in self._params.box.items()
        }
        return read_box(columns, self._params, self._table.place(row))

    def _time(self, row: int) -> float | None:
        if self._params.time is None:
            return None
        raw = self._column(column(self._table, self._params.time, "time"))[row]
        if is_missing(raw):
            return None
        try:
            return as_number(raw)
        except ValueError as error:
            raise DataError(f"time {error}", self._table.place(row), "give seconds") from error

    def _text(self, name: str | None, row: int) -> str:
        """Content of a column as text; empty if there is no such column or value."""
        if name is None:
            return ""
        raw = self._column(column(self._table, name, name))[row]
        return "" if is_missing(raw) else as_text(raw)

    @cached_property
    def _numbers_of(self) -> dict[str, list[int]]:
        numbers: dict[str, list[int]] = {split: [] for split in self.splits}
        for row, split in self._split_of.items():
            numbers[split].append(row)
        return numbers

    def _numbers(self, split: str) -> list[int]:
        if split not in self._numbers_of:
            raise DataError(f"there is no split {split!r}", self._where, f"use one of: {', '.join(self.splits)}")
        return self._numbers_of[split]


def _numbered(texts: Sequence[str]) -> list[str]:
    """Adds numbers to repeated paths, so that none occurs twice: a.png, a_2.png."""
    taken, seen = set(texts), dict.fromkeys(texts, 0)
    numbered = []
    for text in texts:
        seen[text] += 1
        stem, dot, suffix = text.rpartition(".")
        name = text
        while seen[text] > 1:
            name = f"{stem or suffix}_{seen[text]}{dot}{suffix if stem else ''}"
            if name not in taken:
                break
            seen[text] += 1
        taken.add(name)
        numbered.append(name)
    return numbered


def _groups(names: Sequence[str], files: Sequence[str]) -> list[str]:
    """What stays in one split: the subject or video of each row, else its file, joined where they share a file.

    Args:
        names: subject, else video, of each row; may be empty.
        files: file of each row.

    Returns:
        For each row, the alphabetically first name of its group.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            parent[name] = name = parent[above]
        return name

    first_of: dict[str, str] = {}
    groups = [name or file for name, file in zip(names, files, strict=True)]
    for group, file in zip(groups, files, strict=True):
        first, second = sorted((root(group), root(first_of.setdefault(file, group))))
        parent[second] = first
    return [root(group) for group in groups]
