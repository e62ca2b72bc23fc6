"""Paths, templates of stage names, and suggestions for unknown names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blear.errors import JobError


def absolute(path: Path) -> Path:
    """Returns an absolute path with `~` expanded.

    Raises:
        JobError: the text is not a valid path.
    """
    try:
        resolved = path.expanduser().resolve()
        resolved.exists()  # raises where the name is too long
    except (OSError, RuntimeError) as error:  # a symbolic link to itself; a user without a home folder
        raise JobError(f"not a path: {error}", str(path)[:100], "check the path") from error
    return resolved


def windows_hint(path: str) -> str:
    """Returns a hint for the message on a missing path that is written as on Windows; empty for any other path."""
    if re.match(r"[A-Za-z]:[\\/]", path):
        return "; a path of Windows: blear runs on Linux, and in WSL, C:\\data is /mnt/c/data"
    return "; a path of Windows: write / in place of \\" if "\\" in path else ""


def matches_template(template: str, name: str) -> bool:
    """Whether a stage's name is a template with at least one character in place of each `{key}`.

    Takes linear time for every template, which a regular expression does not.
    """
    first, *rest = re.split(r"\{\w+\}", template)
    if not rest:
        return name == template
    *middle, last = rest
    at, end = len(first), len(name) - len(last)
    if not name.startswith(first) or not name.endswith(last):
        return False
    for piece in middle:
        at = name.find(piece, at + 1, end)
        if at < 0:
            return False
        at += len(piece)
    return at < end


def unknown_name(kind: str, name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """Returns the message for an unknown name, with the closest known name or all known names."""
    names = [str(one) for one in known]  # a file may have numbers as keys
    close = difflib.get_close_matches(name, names, n=1)
    return f"there is no {kind} {name!r}; " + (
        f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"
    )
