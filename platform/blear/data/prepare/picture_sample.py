"""Looks into some of the pictures of raw data: their sizes, and whether they are grey."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from blear.folders import files_below, is_hidden

MOST = 100
"""Pictures that are looked into."""
_FILES = 20_000  # files of a folder that are listed


@dataclass(frozen=True)
class PictureSample:
    """Facts of some pictures.

    Attributes:
        sides: length of the shorter side of each picture in pixels, ascending.
        grey: whether every picture has equal red, green and blue values.
    """

    sides: tuple[int, ...]
    grey: bool

    @property
    def median(self) -> int | None:
        """Median of the sides; None without a picture."""
        return self.sides[len(self.sides) // 2] if self.sides else None


def sample_pictures(places: list[Path]) -> PictureSample:
    """Looks into at most `MOST` pictures, evenly spread over the files. Files that are no pictures are passed over.

    Args:
        places: folders, which are searched at any depth; pictures; tar files of pictures, whose first ones are read.
    """
    files = [file for place in places for file in _files(place)]
    step = max(1, len(files) // MOST)
    sides, grey = [], True
    for file in files[::step]:
        for picture in _pictures(file):
            try:
                with Image.open(picture) as image:
                    sides.append(min(image.size))
                    grey = grey and _is_grey(image)
            except (
                UnidentifiedImageError,
                OSError,
                SyntaxError,
                ValueError,
                RuntimeError,
                Image.DecompressionBombError,
            ):
                continue
        if len(sides) >= MOST:
            break
    return PictureSample(tuple(sorted(sides)), grey and bool(sides))


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    found = (path for path in files_below(place, skip=None, unreadable="skip") if not is_hidden(path.name))
    yield from sorted(path for path, _ in zip(found, range(_FILES), strict=False))


def _pictures(file: Path) -> Iterator[Path | io.BytesIO]:
    """The file itself; of a tar file, its members, of which those that are no pictures fail to open."""
    if ".tar" not in file.suffixes:
        yield file
        return
    try:
        with tarfile.open(file) as archive:
            for member, _ in zip(archive, range(3 * MOST), strict=False):
                content = archive.extractfile(member)
                if content is not None:
                    yield io.BytesIO(content.read())
    except (tarfile.TarError, OSError, EOFError):
        return


def _is_grey(image: Image.Image) -> bool:
    if image.mode in ("1", "L", "LA") or image.mode.startswith("I"):
        return True
    small = np.asarray(image.convert("RGB").resize((16, 16)), dtype=np.int16)
    return bool(np.ptp(small, axis=2).max() <= 4)  # JPEG rounds the three values apart
