"""The interface of all readers of FER2013's pictures, and the parsing functions that they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from blear.errors import DataError
from blear.imaging import read_picture
from blear_fer.datasets.protocols import SIDE, USAGES

BLOCK = 4096
"""Rows per part: about 9 MB of 48 x 48 pixels."""

SECOND_TABLE = "keep one table in the file: remove everything from this row on"
"""Advice for a file that holds a second table behind the first one."""


@dataclass(frozen=True)
class Face:
    """One picture.

    Attributes:
        pixels_HW: uint8 [48, 48].
        label: class index in the order of FER2013.
        key: unique name of the sample.
        row: row number in the source.
        origin: file and row, for messages.
    """

    pixels_HW: np.ndarray
    label: int
    key: str
    row: int
    origin: str


class Source(Protocol):
    """Reader of one file layout of FER2013. The constructor reads no file. Invalid data raise `DataError`.

    Attributes:
        ordered: whether rows are in the official order. Joining FERPlus needs that order.
    """

    ordered: bool

    def usages(self) -> np.ndarray:
        """Returns the usage of each row, uint8 [N], indices into `USAGES`. Does not decode pictures."""
        ...

    def blocks(self, usages: Sequence[int]) -> list[str]:
        """Returns the names of blocks of about `BLOCK` rows, in row order. The blocks cover all rows of the usages."""
        ...

    def read(self, usages: Sequence[int], block: str) -> Iterator[Face]:
        """Yields the faces of one block."""
        ...


def split_rows(rows_N: np.ndarray) -> list[np.ndarray]:
    """Splits row numbers into blocks of at most `BLOCK`."""
    return [rows_N[start : start + BLOCK] for start in range(0, len(rows_N), BLOCK)]


def parse_block(block: str, where: Path, numbers: int) -> list[int]:
    """Parses the name of a block: integers joined by dashes.

    Raises:
        DataError: the name does not have this form, or another count of integers.
    """
    parts = block.split("-")
    if len(parts) != numbers or not all(part.isdecimal() for part in parts):
        raise DataError(f"no part is called {block!r}", str(where), "use the names that `parts` gives")
    return [int(part) for part in parts]


def parse_label(text: str, where: str) -> int:
    """Parses the column `emotion`. Returns the class index.

    Raises:
        DataError: the value is not one of 0 to 6.
    """
    if text not in ("0", "1", "2", "3", "4", "5", "6"):
        raise DataError(f"label {text!r} is not one of 0 to 6", where, "compare the file with the official one")
    return int(text)


def parse_usage(text: str, where: str) -> int:
    """Parses the column `Usage`, in any case. Returns an index into `USAGES`.

    Raises:
        DataError: the usage is unknown, or the value is the column's name, as in the header of a second table.
    """
    known = [usage.casefold() for usage in USAGES]
    if text.strip().casefold() == "usage":
        raise DataError("the header is repeated: a second table begins here", where, SECOND_TABLE)
    if text.strip().casefold() not in known:
        raise DataError(f"unknown Usage {text!r}", where, f"it must be one of {', '.join(USAGES)}")
    return known.index(text.strip().casefold())


def find_columns(header: Sequence[str], needed: Sequence[str]) -> dict[str, int]:
    """Finds columns by their names, in any case and with spaces around them. Returns name -> index of those found."""
    plain = [name.strip().casefold() for name in header]
    return {name: plain.index(name.casefold()) for name in needed if name.casefold() in plain}


def decode(data: bytes, where: str) -> np.ndarray:
    """Decodes a picture to uint8 [48, 48]. Colour is converted to grey by BT.601 luma.

    Raises:
        DataError: the picture is damaged or has another size.
    """
    pixels_HW = read_picture(data, where, color="grey")
    if pixels_HW.shape != (SIDE, SIDE):
        height, width = pixels_HW.shape
        what = f"the picture is {height} x {width}, not {SIDE} x {SIDE} pixels"
        raise DataError(what, where, "use FER2013's own pictures, not resized ones")
    return pixels_HW
