"""The choice among the packagings of FER2013 by what lies at a path."""

from __future__ import annotations

from pathlib import Path

from blear.errors import DataError
from blear_fer.datasets.csv_source import CsvSource
from blear_fer.datasets.face_source import Source
from blear_fer.datasets.folder_source import FolderSource
from blear_fer.datasets.zip_source import ZipSource


def open_source(path: Path) -> Source:
    """The reader for what lies at `path`: a csv file, or a folder with one of the packagings.

    In a folder the first of these counts: `fer2013.csv`, `icml_face_data.csv`, `faces.zip` with `labels.csv`,
    class folders under `train/`.

    Raises:
        DataError: nothing there, or nothing that is known.
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
