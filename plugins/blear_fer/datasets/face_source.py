"""What every packaging of FER2013's pictures answers, and the parsing that they share."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from blear.errors import DataError
from blear_fer.datasets.protocols import SIDE, USAGES

BLOCK = 4096
"""Rows of a part; at 48 x 48 about 9 MB."""


@dataclass(frozen=True)
class Face:
    """One picture: uint8 [48, 48], its class in FER2013's order, its name among all, and where it was found."""

    pixels_HW: np.ndarray
    label: int
    key: str
    row: int
    origin: str


class Source(Protocol):
    """A packaging. Nothing is read before a method is called; bad data raises `DataError`.

    Attributes:
        ordered: whether rows keep the official order, which FERPlus is joined by.
    """

    ordered: bool

    def usages(self) -> np.ndarray:
        """Usage of each row, uint8 [N] into `USAGES`; scans the packaging, not the pictures."""
        ...

    def blocks(self, usages: Sequence[int]) -> list[str]:
        """Names of blocks of about `BLOCK` rows of these usages, in row order; together they are all such rows."""
        ...

    def read(self, usages: Sequence[int], block: str) -> Iterator[Face]:
        """The faces of one block, without a scan of the whole."""
        ...


def split_rows(rows_N: np.ndarray) -> list[np.ndarray]:
    """Cuts row numbers into blocks of at most `BLOCK`."""
    return [rows_N[start : start + BLOCK] for start in range(0, len(rows_N), BLOCK)]


def parse_block(block: str, where: Path, numbers: int) -> list[int]:
    """The whole numbers in the name of a block, which are joined by dashes.

    Raises:
        DataError: the name is not of that form.
    """
    parts = block.split("-")
    if len(parts) != numbers or not all(part.isdecimal() for part in parts):
        raise DataError(f"no part is called {block!r}", str(where), "use the names that `parts` gives")
    return [int(part) for part in parts]


def parse_label(text: str, where: str) -> int:
    """An `emotion` column's class index.

    Raises:
        DataError: not one of 0 to 6.
    """
    if text not in ("0", "1", "2", "3", "4", "5", "6"):
        raise DataError(f"label {text!r} is not one of 0 to 6", where, "compare the file with the official one")
    return int(text)


def parse_usage(text: str, where: str) -> int:
    """A `Usage` column's index into `USAGES`.

    Raises:
        DataError: an unknown usage.
    """
    if text not in USAGES:
        raise DataError(f"unknown Usage {text!r}", where, f"it must be one of {', '.join(USAGES)}")
    return USAGES.index(text)


def decode(data: bytes, where: str) -> np.ndarray:
    """Pixels of an encoded picture, uint8 [48, 48]; colour becomes grey by BT.601 luma.

    Raises:
        DataError: it is damaged or of another size.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels_HW = np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all three for damaged files
        raise DataError(f"the picture cannot be decoded ({error})", where, "fetch this file again") from error
    if pixels_HW.shape != (SIDE, SIDE):
        height, width = pixels_HW.shape
        what = f"the picture is {height} x {width}, not {SIDE} x {SIDE} pixels"
        raise DataError(what, where, "use FER2013's own pictures, not resized ones")
    return pixels_HW
