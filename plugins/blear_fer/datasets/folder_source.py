"""FER2013 as class folders: `train/<class>/*` and `test/<class>/*`.

- Image mirrors call the folders by the classes. They are matched by name, because the alphabetical order of the folders
  differs from the csv's class order. `test` holds both test usages: a file name that starts with `PublicTest_` or
  `PrivateTest_` decides; any other file belongs to PrivateTest.
- The FER-VGG-GRU system calls them `0` to `6`, the csv's numbers. Its `train` holds Training and PublicTest together,
  its `test` is PrivateTest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from blear.errors import DataError
from blear.imaging import picture_files
from blear_emotions.labels import FER2013
from blear_fer.datasets.face_source import Face, decode, parse_block, split_rows
from blear_fer.datasets.protocols import USAGES

_FOLDERS = {folder: index for index, name in enumerate(FER2013.names) for folder in (name, str(index))}
"""Name of a class folder -> class index."""


class FolderSource:
    """Reader of the class folders. The row number is the index in the sorted paths, not the official row number.

    All files in `train` count as Training.
    """

    ordered = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def usages(self) -> np.ndarray:
        """See `Source`."""
        return np.array([_usage(file.parent.parent.name, file.name) for file in self._files], dtype=np.uint8)

    def blocks(self, usages: Sequence[int]) -> list[str]:
        """Names `<first row>-<last row>`."""
        blocks = split_rows(np.flatnonzero(np.isin(self.usages(), usages)))
        return [f"{rows[0]:07d}-{rows[-1]:07d}" for rows in blocks]

    def read(self, usages: Sequence[int], block: str) -> Iterator[Face]:
        """See `Source`. Keys are derived from the paths."""
        first, last = parse_block(block, self._folder, 2)
        for row, file in enumerate(self._files[first : last + 1], start=first):
            split, name = file.parent.parent.name, file.parent.name
            if _usage(split, file.name) in usages:
                pixels_HW = decode(file.read_bytes(), str(file))
                yield Face(pixels_HW, _FOLDERS[name], _key(file), row, str(file))

    @cached_property
    def numbered(self) -> bool:
        """Whether the folders are called by numbers."""
        return any(file.parent.name.isdecimal() for file in self._files)

    @cached_property
    def _files(self) -> list[Path]:
        files: dict[str, Path] = {}
        for split in ("train", "test"):
            for folder in sorted((self._folder / split).glob("[!.]*/")):
                if folder.name not in _FOLDERS:
                    do = f"its folders must be called {', '.join(FER2013.names)}, or 0 to {len(FER2013) - 1}"
                    raise DataError(f"unknown class folder {folder.name!r}", str(folder), do)
                for file in picture_files(folder):
                    if (twin := files.setdefault(_key(file), file)) is not file:
                        raise DataError(f"its name is too like that of {twin.name}", str(file), "rename one of them")
        return list(files.values())


def _key(file: Path) -> str:
    return f"{file.parent.parent.name}/{file.parent.name}/{re.sub(r'[^A-Za-z0-9_-]', '_', file.stem)}"


def _usage(split: str, file_name: str) -> int:
    if split == "train":
        return USAGES.index("Training")
    return USAGES.index("PublicTest" if file_name.startswith("PublicTest_") else "PrivateTest")
