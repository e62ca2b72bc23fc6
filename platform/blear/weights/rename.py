"""New names for tensors, by patterns with `*`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from blear.errors import JobError


def renamed(names: list[str], patterns: Mapping[str, str]) -> dict[str, str]:
    """Name -> new name. The first pattern that matches a whole name counts; names that none matches stay.

    Each `*` of the new name is what the same `*` of the pattern stood for: as little as fits, the first ones first.

    Raises:
        JobError: a pattern matches no name, or two names become one.
    """
    found: dict[str, str] = {}
    used: set[str] = set()
    compiled = {
        pattern: re.compile("(.*?)".join(map(re.escape, pattern.split("*"))), re.DOTALL) for pattern in patterns
    }
    for name in names:
        found[name] = name
        for pattern, expression in compiled.items():
            if match := expression.fullmatch(name):
                found[name] = _filled(patterns[pattern], match.groups())
                used.add(pattern)
                break
    for pattern in patterns:
        if pattern not in used:
            raise JobError(f"rename: {pattern!r} matches no name that is left for it", do=f"names: {', '.join(names)}")
    owner: dict[str, str] = {}
    for name, new in found.items():
        if new in owner:
            raise JobError(f"rename: {owner[new]!r} and {name!r} both become {new!r}", do="mend `rename`")
        owner[new] = name
    return found


def _filled(template: str, parts: tuple[str, ...]) -> str:
    first, *rest = template.split("*")
    return first + "".join(part + piece for part, piece in zip(parts, rest, strict=False))
