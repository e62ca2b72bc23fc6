"""Expands the `matrix` of entries of a job: one entry for each combination of values."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from typing import Any

from blear.job.document import Document

_MOST_ENTRIES = 10_000
_BRACES = re.compile(r"\{([^{}]*)\}")


def expand_matrices(document: Document) -> None:
    """Replaces each entry of `data` and `stages` that has a `matrix` by one entry for each combination of its values.

    Example: `faces_{size}: {use: faces/procedural, size: "{size}", matrix: {size: [48, 96]}}` becomes the two entries
    `faces_48` and `faces_96`.
    """
    for section in ("data", "stages"):
        entries = document.data.get(section)
        if isinstance(entries, dict):
            document.data[section] = _expanded(document, section, entries)


def _expanded(document: Document, section: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    expanded: dict[str, Any] = {}
    for name, entry in entries.items():
        matrix = entry.get("matrix") if isinstance(entry, dict) else None
        if not isinstance(matrix, dict) or not all(isinstance(v, list) for v in matrix.values()):
            if name in expanded:
                document.problem((section, name), f"a matrix above makes {name!r} too; rename one of them")
            expanded[name] = entry
            continue
        count = math.prod(len(values) for values in matrix.values())
        if count > _MOST_ENTRIES:
            document.problem((section, name, "matrix"), f"the matrix makes {count} entries, {_MOST_ENTRIES} at most")
            continue
        body = {key: value for key, value in entry.items() if key != "matrix"}
        for values in itertools.product(*matrix.values()):
            combination = dict(zip(matrix, values, strict=True))
            full = _substitute(name, combination)
            if full in expanded:
                document.problem((section, name), f"the matrix makes {full!r} twice; put every key into the name")
            expanded[full] = _substitute(body, combination)
            for where, place in list(document.places.items()):
                if where[:2] == (section, name):
                    document.places[(section, full, *where[2:])] = place
    return expanded


def _substitute(value: Any, combination: Mapping[str, Any]) -> Any:
    """Replaces `{key}` in every string, once; a string that is only `{key}` becomes the value with its type."""
    if isinstance(value, dict):
        return {_substitute(k, combination): _substitute(v, combination) for k, v in value.items()}
    if isinstance(value, list):
        return [_substitute(v, combination) for v in value]
    if not isinstance(value, str):
        return value
    if value[:1] == "{" and value[-1:] == "}" and value[1:-1] in combination:
        return combination[value[1:-1]]
    return _BRACES.sub(lambda found: str(combination.get(found[1], found[0])), value)
