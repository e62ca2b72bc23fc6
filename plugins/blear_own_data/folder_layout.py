"""Finds split and class of a file from the folders that it lies in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from unicodedata import normalize

from blear.errors import DataError
from blear_own_data.splitting import known_split

LEVELS = ("split", "class", "subject", "video", "*")


@dataclass(frozen=True)
class Place:
    """What the folders of one file say; empty where they say nothing."""

    split: str
    label: str
    subject: str = ""
    video: str = ""


def read_places(paths: Sequence[str], layout: str | None, where: str) -> list[Place]:
    """Reads the folders of each path.

    Args:
        paths: relative paths with `/`.
        layout: meaning of the folders, for instance `split/class`; None: it is found out.
        where: the source, for messages.

    Raises:
        DataError: a file lies in no class folder, or the folders do not fit the layout.
    """
    folders = [tuple(normalize("NFC", path).split("/")[:-1]) for path in paths]
    if layout is not None:
        return [_by_layout(path, names, layout.split("/"), where) for path, names in zip(paths, folders, strict=True)]
    depth = _wrapping(folders)
    folders = [names[depth:] for names in folders]
    firsts = {names[0] if names else "" for names in folders}
    if all(known_split(name) for name in firsts):
        return _below_splits(paths, folders, where)
    _require_no_split(folders, where)
    seconds = {names[1] if len(names) > 1 else "" for names in folders}
    if len(firsts) > 1 and all(known_split(name) for name in seconds):
        return [Place(known_split(names[1]) or "", names[0]) for names in folders]
    labels = [names[0] if names else "" for names in folders]
    return [_named(path, "", label, where) for path, label in zip(paths, labels, strict=True)]


def _require_no_split(folders: Sequence[tuple[str, ...]], where: str) -> None:
    """Raises a DataError if some first folders are splits with folders in them, and others are no splits."""
    split = next((names[0] for names in folders if len(names) > 1 and known_split(names[0])), None)
    if split is not None:
        other = next(names[0] if names else "." for names in folders if not names or not known_split(names[0]))
        do = "move this folder, or set `layout`: split/class or class"
        raise DataError(f"{split!r} is a split, and {other!r} beside it is none", where, do)


def _below_splits(paths: Sequence[str], folders: Sequence[tuple[str, ...]], where: str) -> list[Place]:
    """Reads `split/.../class/...`; folders between that all files share are skipped, for instance `train/images/`."""
    inner = [names[1:] for names in folders]
    depth = _wrapping(inner)
    return [
        _named(path, known_split(names[0]) or "", names[depth + 1] if len(names) > depth + 1 else "", where)
        for path, names in zip(paths, folders, strict=True)
    ]


def _named(path: str, split: str, label: str, where: str) -> Place:
    if not label:
        do = "put each picture into a folder with the name of its class, or set `layout`, or list the files in a table"
        raise DataError("this file lies in no class folder", f"{where}/{path}", do)
    return Place(split, label)


def _wrapping(folders: Sequence[tuple[str, ...]]) -> int:
    """Number of leading folders that all files share and that are neither a split nor the last level."""
    depth = 0
    while folders and all(len(names) > depth + 1 for names in folders):
        shared = {names[depth] for names in folders}
        if len(shared) > 1 or known_split(next(iter(shared))):
            break
        depth += 1
    return depth


def _by_layout(path: str, names: tuple[str, ...], levels: Sequence[str], where: str) -> Place:
    if len(names) < len(levels):
        what = f"this file lies in {len(names)} folders, layout {'/'.join(levels)} has {len(levels)}"
        raise DataError(what, f"{where}/{path}", "move the file, or fix `layout`")
    found = dict(zip(levels, names, strict=False))
    split = found.get("split", "")
    split = known_split(split) or re.sub("[^A-Za-z0-9_-]+", "_", split)
    return Place(split, found.get("class", ""), found.get("subject", ""), found.get("video", ""))


def class_names(labels: Sequence[str], given: Mapping[str, str | None] | None, where: str) -> dict[str, str | None]:
    """Returns label -> name of its class, in the order of the classes; None for a class that is left out.

    Args:
        labels: names of the class folders, or labels of a table.
        given: label -> name, as the job gives them; None: all labels are classes, sorted as numbers if all of them are.
        where: the source, for messages.

    Raises:
        DataError: a label is not named, a named one does not exist, or two labels differ only by case.
    """
    found = set(labels)
    if given is None:
        numbers = all(re.fullmatch(r"[+-]?\d+", label) for label in found)
        ordered = sorted(found, key=lambda label: (int(label), label)) if numbers else sorted(found)
        by_case: dict[str, str] = {}
        for label in ordered:
            if (other := by_case.setdefault(label.casefold(), label)) != label:
                do = f"rename one, or join them: classes: {{{other}: {other}, {label}: {other}, ...}}"
                raise DataError(f"the classes {other!r} and {label!r} differ only by case", where, do)
        return {label: label for label in ordered}
    names = {normalize("NFC", label): name for label, name in given.items()}
    padded = {int(label): label for label in found if label.isdecimal()}  # 7 names the folder 007
    names = {
        padded.get(int(label), label) if label.isdecimal() and label not in found else label: name
        for label, name in names.items()
    }
    if unnamed := sorted(found - names.keys()):
        do = f"name it: classes: {{{unnamed[0]}: NAME}}, or leave it out: {{{unnamed[0]}: null}}"
        raise DataError(f"`classes` does not name {', '.join(map(repr, unnamed[:5]))}", where, do)
    return names
