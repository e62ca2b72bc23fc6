"""Dataset of face pictures in lists of `<path> <label>`. A path is a picture, or a folder with the faces of a clip."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Sample, Target
from blear.errors import DataError
from blear.imaging import PICTURE_SUFFIXES, picture_files, read_picture
from blear_dsn.data_params import FaceListParams
from blear_dsn.pictures import stretch
from blear_emotions.listed_paths import listed_path
from blear_emotions.published import compared_with_published

_log = logging.getLogger(__name__)

BLOCK = 512
"""Rows per part if the rows name pictures."""


@dataclass(frozen=True)
class Row:
    """One line of a list.

    Attributes:
        path: a picture or a folder of pictures.
        label: class index.
        where: list and line, for messages.
        key: key of the sample, or prefix of the keys of a folder.
    """

    path: Path
    label: int
    where: str
    key: str


class FaceList:
    """Dataset with one still sample per picture. The pictures of a folder have the same `video`: evaluation pools them.

    The constructor reads no file.
    """

    terms = (
        "Faces cut from other data, whose terms hold: RAF-DB and AFEW are for non-commercial research only; "
        "`python -m blear_dsn.clips AFEW OUT` cuts those of AFEW."
    )

    def __init__(self, params: FaceListParams, context: BuildContext) -> None:
        self.params = params
        self.clip = ClipSpec(1, 3, params.size, params.size)
        self.targets = (Target("emotion", "class", params.classes),)
        self.splits = tuple(split for split in ("train", "dev") if getattr(params, split) is not None)

    def parts(self, split: str) -> list[str]:
        """Names of blocks of rows: one row per block if the list names folders, 512 if it names pictures.

        Training has no block of a clip without a face: a black picture is no example of the clip's emotion.

        Raises:
            DataError: no such split, or the list is missing, empty or invalid.
        """
        return list(self._blocks(split))

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the pictures of the rows of a block. The pictures of a folder are sorted by name.

        Raises:
            DataError: no such part, or a picture is missing or damaged.
        """
        blocks = self._blocks(split)
        if part not in blocks:
            raise DataError(f"no part {part!r} in split {split!r}", "dsn/face_list", "take one of parts(split)")
        for row in blocks[part]:
            if not row.path.is_dir():
                yield self._sample(row.key, read_picture(row.path, row.where), row)
                continue
            pictures = picture_files(row.path)
            if not pictures:
                yield self._black_sample(row)
            for number, path in enumerate(pictures):
                yield self._sample(f"{row.key}/{number:05d}", read_picture(path, row.where), row, row.key)

    def describe(self) -> Mapping[str, str]:
        """Missing pictures and folders, and the number of folders without pictures."""
        rows = [row for split in self.splits for row in (self._train if split == "train" else self._dev)]
        absent = [str(row.path) for row in rows if not row.path.exists()]
        empty = sum(row.path.is_dir() and not picture_files(row.path) for row in rows)
        return compared_with_published({}, missing=absent) | ({"clips without a face": str(empty)} if empty else {})

    def _sample(self, key: str, image_HWC: np.ndarray, row: Row, video: str = "", found: int = 1) -> Sample:
        frames = stretch(image_HWC, self.params.size)[None]
        return Sample(key, frames, {"emotion": row.label}, video=video, meta={"found": found})

    def _black_sample(self, row: Row) -> Sample:
        if self.params.empty == "refuse":
            do = "leave the row out, or set `empty: black` to count it as a clip without a face"
            raise DataError(f"no picture in {row.path}", row.where, do)
        black = np.zeros((self.params.size, self.params.size, 3), np.uint8)
        return self._sample(f"{row.key}/00000", black, row, row.key, found=0)

    def _blocks(self, split: str) -> dict[str, list[Row]]:
        if split not in self.splits:
            raise DataError(f"no split is called {split!r}", str(self.params.source), f"use {', '.join(self.splits)}")
        rows = self._train if split == "train" else self._dev
        if split == "train" and self.params.empty == "black":
            rows = self._with_a_face
        each = 1 if rows[0].path.is_dir() else BLOCK
        return {f"{start:05d}": rows[start : start + each] for start in range(0, len(rows), each)}

    @cached_property
    def _with_a_face(self) -> list[Row]:
        """The rows of the training list without empty folders, whose number is logged."""
        kept = [row for row in self._train if not row.path.is_dir() or picture_files(row.path)]
        where = self.params.source / str(self.params.train)
        if empty := len(self._train) - len(kept):
            _log.warning("%s: %d of %d clips have no face and are left out", where, empty, len(self._train))
        if not kept:
            raise DataError(
                "no clip of the list has a face", str(where), "cut the faces anew: python -m blear_dsn.clips"
            )
        return kept

    @cached_property
    def _train(self) -> list[Row]:
        return read_list(self.params.source, self.params.train or "", len(self.params.classes))

    @cached_property
    def _dev(self) -> list[Row]:
        return read_list(self.params.source, self.params.dev or "", len(self.params.classes))


def read_list(root: Path, file_name: str, classes: int) -> list[Row]:
    """Reads the rows of one list.

    Args:
        root: folder of the list. Paths in the list are relative to it.
        file_name: file name of the list.
        classes: number of classes; labels are 0 to `classes` - 1.

    Raises:
        DataError: the list is missing or empty, a row is not `<path> <label>`, or two rows have the same key.
    """
    file = root / file_name
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the list cannot be read: {error}", str(file), "set `train` and `dev` to the lists") from error
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        path, _, label = " ".join(line.split("\t")).strip().rpartition(" ")
        if not path.strip() or not label.isdecimal() or int(label) >= classes:
            raise DataError(f"{line!r} is not <path> <label 0..{classes - 1}>", where, "fix this row")
        name = listed_path(path, where)
        row = Row(root / name, int(label), where, _key(name))
        if (twin := rows.setdefault(row.key, row)) is not row:
            raise DataError(f"has the same key as {twin.where}: {row.key}", where, "rename one of them")
    if not rows:
        raise DataError("the list has no row", str(file), "set `train` and `dev` to the lists")
    return list(rows.values())


def _key(path: str) -> str:
    """Converts a path to a sample key: without extension; other characters than letters, digits and "-" become "_"."""
    name = path[: -len(Path(path).suffix)] if Path(path).suffix.lower() in PICTURE_SUFFIXES else path
    parts = (re.sub(r"[^A-Za-z0-9-]+", "_", part).strip("_") for part in name.split("/"))
    return "/".join(part for part in parts if part) or "face"
