"""The digest that identifies the content of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from blear.errors import DataError


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", str(path), "give a file of weights") from error
