"""Finds the files that a table names."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from unicodedata import normalize

from blear.errors import DataError
from blear_own_data.table_files import Table, read_table
from blear_own_data.table_params import TableParams

PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "picture", "video")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def path_column(params: TableParams, table: Table) -> str:
    """Returns the name of the column of paths.

    Raises:
        DataError: the table has no such column.
    """
    if params.path is not None:
        return column(table, params.path, "path")
    by_case = {name.casefold(): name for name in reversed(list(table.columns))}
    for name in PATH_COLUMNS:
        if name in by_case:
            return by_case[name]
    do = f"set `path`; the columns are {', '.join(table.columns)}"
    raise DataError(f"there is no column {', '.join(PATH_COLUMNS[:-1])} or {PATH_COLUMNS[-1]}", table.where, do)


def column(table: Table, name: str, purpose: str) -> str:
    """Returns the name of a column as the table writes it, if letters differ by case alone.

    Raises:
        DataError: the table has no such column.
    """
    if name in table.columns:
        return name
    by_case = {known.casefold(): known for known in table.columns}
    if name.casefold() in by_case:
        return by_case[name.casefold()]
    do = f"the columns are {', '.join(table.columns)}"
    raise DataError(f"there is no column {name!r} for `{purpose}`", table.where, do)


def resolve(text: str, root: Path) -> Path:
    """Returns the file that a table names: absolute, or relative to `root`; `\\` may stand for `/`.

    Accents of the file's name may be composed characters (NFC) or, as macOS writes them, decomposed ones (NFD).
    """
    path = root / text
    if not text.isascii() and not path.exists():
        path = next((other for form in ("NFC", "NFD") if (other := root / normalize(form, text)).exists()), path)
    if "\\" in text and not path.exists():
        if _DRIVE.match(text):
            return root / text.rpartition("\\")[2]
        return root / text.replace("\\", "/")
    return path


def listed_files(params: TableParams) -> list[Path]:
    """Returns the file of each row; none if the table cannot be read, which its reader reports."""
    try:
        table = _cached_table(params.source, params.source.stat().st_mtime_ns)
        texts = table.columns[path_column(params, table)]
    except (DataError, OSError):
        return []
    root = params.root or params.source.parent
    return sorted({resolve(str(text), root) for text in texts if text})


@functools.lru_cache(maxsize=1)
def _cached_table(path: Path, changed_ns: int) -> Table:
    return read_table(path)
