"""Finds the shards that a job names: braces, wildcards, folders and URLs."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from braceexpand import braceexpand

from blear.errors import DataError
from blear.folders import files_below, is_hidden
from blear_own_data.splitting import known_split
from blear_own_data.webdataset_params import WebdatasetParams

_ENDINGS = (".tar", ".tar.gz", ".tgz")
_SEPARATORS = re.compile(r"[-_. \d]+")


def find_places(params: WebdatasetParams) -> dict[str, list[str]]:
    """Returns split -> paths and URLs of its shards, in order; the split is empty where none is named.

    Raises:
        DataError: there is no shard, or only some shards name a split.
    """
    if params.splits is not None:
        return _once({split: _expand(_joined(params.source, text)) for split, text in params.splits.items()})
    places = _expand(params.source)
    splits = [_split_of(place) for place in places]
    if None in splits and len(set(splits)) > 1:
        place = places[splits.index(None)]
        raise DataError("the name of this shard tells no split, those of others do", place, "set `splits`")
    found: dict[str, list[str]] = {}
    for place, split in zip(places, splits, strict=True):
        found.setdefault(split or "", []).append(place)
    return found


def _once(places: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same; raises a DataError if a shard is in two splits."""
    split_of: dict[str, str] = {}
    for split, of_split in places.items():
        for place in of_split:
            if (other := split_of.setdefault(place, split)) != split:
                raise DataError(f"this shard is in the splits {other!r} and {split!r}", place, "fix `splits`")
    return places


def _joined(source: str, text: str) -> str:
    if "://" in text or Path(text).is_absolute():
        return text
    return "::".join(f"{source.rstrip('/')}/{one}" for one in text.split("::"))


def _expand(source: str) -> list[str]:
    places: list[str] = []
    for text in source.split("::"):
        try:
            names = list(braceexpand(text))
        except ValueError as error:
            raise DataError(f"the braces cannot be expanded: {error}", text, "write {0000..0146} or {a,b}") from error
        for name in names:
            places += [name] if "://" in name else _local(name)
    if twice := {place for place in places if places.count(place) > 1} if len(places) < 10_000 else set():
        raise DataError("this shard is named twice", min(twice), "fix `source`")
    return places


def _local(name: str) -> Sequence[str]:
    path = Path(name).expanduser().absolute()
    if path.is_dir():
        found = sorted(
            str(file)
            for file in files_below(path, skip=None)
            if file.name.lower().endswith(_ENDINGS) and not is_hidden(file.name)
        )
        if not found:
            raise DataError(f"there is no shard ({', '.join(_ENDINGS)})", str(path), "check the folder")
        return found
    if path.is_file():
        return [str(path)]
    matched = glob.glob(str(path), recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
    matches = sorted(match for match in matched if Path(match).is_file())
    if not matches:
        raise DataError(
            "there is no such shard", str(path), "check `source`: a folder, or files such as a-{000..012}.tar"
        )
    return matches


def _split_of(place: str) -> str | None:
    """Returns the split that a file's name, else its folder's name, tells: `train` for `faces-train-0001.tar`."""
    folder, _, name = place.rpartition("/")
    words = [word for word in _SEPARATORS.split(name.split(".")[0]) if word]
    named = [split for word in words if (split := known_split(word))]
    return named[0] if named else known_split(folder.rpartition("/")[2])
