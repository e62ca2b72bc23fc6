"""Renames the keys of a state dict by patterns with `*`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from blear.errors import JobError


def rename_keys(names: list[str], patterns: Mapping[str, str]) -> dict[str, str]:
    """Renames each name by the first pattern that matches the whole name; other names are kept.

    A `*` matches any text, as short as possible, from left to right. The n-th `*` of the new name is replaced by the
    text that the n-th `*` of the pattern matched. Example: {"conv1_1.*": "features.0.*"} renames conv1_1.weight to
    features.0.weight.

    Args:
        names: the names in the file.
        patterns: pattern -> new name.

    Returns:
        Name -> new name, for every name.

    Raises:
        JobError: a pattern renames no name, or two names become equal.
    """
    renamed: dict[str, str] = {}
    used: set[str] = set()
    compiled = {
        pattern: re.compile("(.*?)".join(map(re.escape, pattern.split("*"))), re.DOTALL) for pattern in patterns
    }
    for name in names:
        renamed[name] = name
        for pattern, expression in compiled.items():
            if match := expression.fullmatch(name):
                renamed[name] = _fill(patterns[pattern], match.groups())
                used.add(pattern)
                break
    for pattern in patterns:
        if pattern not in used:
            what = f"rename: {pattern!r} matches no name, apart from names that earlier patterns match"
            raise JobError(what, do=f"names: {', '.join(names)}")
    old_names: dict[str, str] = {}
    for name, new in renamed.items():
        if new in old_names:
            raise JobError(f"rename: {old_names[new]!r} and {name!r} both become {new!r}", do="fix `rename`")
        old_names[new] = name
    return renamed


def _fill(template: str, matches: tuple[str, ...]) -> str:
    """The template with its `*` replaced by the matched texts."""
    first, *rest = template.split("*")
    return first + "".join(match + piece for match, piece in zip(matches, rest, strict=False))
