"""Paths of files in lists and tables that come with data."""

from __future__ import annotations

import re

from blear.errors import DataError

_DRIVE = re.compile(r"[A-Za-z]:/")


def listed_path(text: str, where: str) -> str:
    """Converts a path from a list into one with slashes: lists written on Windows have backslashes.

    Args:
        text: the path as listed.
        where: list and row, for messages.

    Raises:
        DataError: the path begins with a Windows drive or a network share, as in `D:\\faces\\1.png`.
    """
    path = text.strip().replace("\\", "/")
    if _DRIVE.match(path) or (path.startswith("//") and "\\" in text):
        do = "make the list's paths relative to the folder of the data"
        raise DataError(f"{text.strip()!r} is a path of a Windows computer", where, do)
    return path
