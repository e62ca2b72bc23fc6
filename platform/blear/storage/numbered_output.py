"""Outputs whose names no one chose: `card`, `card-2`, ... An earlier result of something else is kept."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path


def numbered_output(default: Path, is_free: Callable[[Path], bool]) -> Path:
    """Returns the first of `default`, `default-2`, `default-3`, ... that is free.

    Args:
        default: the file or folder; numbers are appended to its stem.
        is_free: whether a file or folder does not exist, or may be replaced.
    """
    numbered = (default.with_stem(f"{default.stem}-{number}") for number in itertools.count(2))
    return next(filter(is_free, itertools.chain([default], numbered)))


def free_for(out: Path, facts: Path, **entries: str) -> bool:
    """Whether an output does not exist, or was written for the same purpose.

    Args:
        out: the file or folder.
        facts: JSON file of the output; one that cannot be read counts as that of somebody else.
        entries: what the file says where the purpose is the same, for instance the command.
    """
    if not out.exists():
        return True
    try:
        found = json.loads(facts.read_bytes())
        return all(found[key] == value for key, value in entries.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False
