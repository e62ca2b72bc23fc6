"""Chooses the reader of FER2013 by the files at a path."""

from __future__ import annotations

from pathlib import Path

from blear.errors import DataError
from blear_fer.datasets.csv_source import CsvSource
from blear_fer.datasets.face_source import Source
from blear_fer.datasets.folder_source import FolderSource
from blear_fer.datasets.zip_source import ZipSource


def open_source(path: Path) -> Source:
    """Returns the reader for `path`, a csv file or a folder.

    In a folder, the first of these that exists is used: `fer2013.csv`, `icml_face_data.csv`, `faces.zip` with
    `labels.csv`, class folders under `train/` or `test/`.

    Raises:
        DataError: the path does not exist, or the folder has none of these layouts.
    """
    path = path.expanduser()
    if path.is_file():
        return CsvSource(path)
    if not path.is_dir():
        raise DataError("no such file or folder", str(path), "set `source` to fer2013.csv or to a folder that holds it")
    for name in ("fer2013.csv", "icml_face_data.csv"):
        if (path / name).is_file():
            return CsvSource(path / name)
    if (path / "faces.zip").is_file() and (path / "labels.csv").is_file():
        return ZipSource(path)
    if (path / "train").is_dir() or (path / "test").is_dir():
        return FolderSource(path)
    known = "fer2013.csv, icml_face_data.csv, faces.zip with labels.csv, or train/<class>/*"
    raise DataError("no packaging of FER2013 here", str(path), f"the folder must hold {known}")
