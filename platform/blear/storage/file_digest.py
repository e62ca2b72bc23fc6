"""What names a file's content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from blear.errors import DataError


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", str(path), "give a file of weights") from error
