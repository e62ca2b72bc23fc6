"""The dataset `folders`: pictures or videos in folders with the names of their classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from blear.contracts import BuildContext, Sample, Target
from blear.errors import DataError
from blear_own_data.blocks import block_names, find_block
from blear_own_data.folder_layout import Place, class_names, read_places
from blear_own_data.keys import unique_keys
from blear_own_data.left_out import LeftOut
from blear_own_data.media import ClipReader, Files, find_files, one_kind
from blear_own_data.params import FoldersParams
from blear_own_data.splitting import assign_splits, sort_splits


class Folders:
    """A `contracts.Dataset` of class folders.

    Raises:
        DataError: there is no picture, a file lies in no class folder, there are fewer than two classes, or (while
            reading) more files are damaged than `max_broken` allows.
    """

    terms = "Pictures of your own."

    def __init__(self, params: FoldersParams, context: BuildContext) -> None:
        self._params, self._where = params, str(params.source)
        if not params.source.is_dir():
            raise DataError("no such folder", self._where, "give the folder that holds the class folders")
        self._files = find_files(params.source)
        if not self._files.media:
            raise DataError(f"there is no picture or video{_listed(self._files)}", self._where, "check the folder")
        videos = one_kind(self._files.media, self._where)
        places = read_places(self._files.media, params.layout, self._where)
        names = class_names([place.label for place in places], params.class_map, self._where)
        classes = tuple(dict.fromkeys(name for name in names.values() if name is not None))
        if len(classes) < 2:
            do = "two class folders are needed; `layout` tells which folders are classes"
            raise DataError(f"the only class is {', '.join(classes) or 'none'}", self._where, do)
        self._left_out = sum(names[place.label] is None for place in places)
        kept = [n for n, place in enumerate(places) if names[place.label] is not None]
        self._paths = [self._files.media[n] for n in kept]
        self._places = [places[n] for n in kept]
        self._labels = [classes.index(names[place.label] or "") for place in self._places]
        self._keys = unique_keys(self._paths)
        self.targets = (Target(params.target, "class", classes),)
        self._reader = ClipReader(params, params.height_width, videos)
        self.clip = self._reader.clip
        self._split_of = self._splits()
        self.splits = sort_splits(self._split_of)

    def parts(self, split: str) -> Sequence[str]:
        """Names of blocks of files, `<first>-<last>`."""
        return block_names(len(self._numbers(split)), self._reader.videos)

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """The files of a block, sorted by path."""
        numbers = self._numbers(split)
        left_out = LeftOut(self._params.max_broken, self._where)
        for number in (numbers[n] for n in find_block(part, len(numbers), self._reader.videos, self._where)):
            path = self._paths[number]
            try:
                frames = self._reader.read(self._params.source / path, "")
            except DataError as error:
                left_out.add(error)
                continue
            place, label = self._places[number], {self._params.target: self._labels[number]}
            yield Sample(self._keys[number], frames, label, subject=place.subject, video=place.video)

    def describe(self) -> Mapping[str, str]:
        """Files of other types, and files of classes that are left out."""
        lines = {}
        if self._files.other:
            lines["other files"] = _listed(self._files).removeprefix("; ")
        if self._left_out:
            lines["left out"] = f"{self._left_out} files of classes without a name"
        return lines

    @cached_property
    def _numbers_of(self) -> dict[str, list[int]]:
        numbers: dict[str, list[int]] = {split: [] for split in self.splits}
        for number, split in enumerate(self._split_of):
            numbers[split].append(number)
        return numbers

    def _numbers(self, split: str) -> list[int]:
        if split not in self._numbers_of:
            raise DataError(f"there is no split {split!r}", self._where, f"use one of: {', '.join(self.splits)}")
        return self._numbers_of[split]

    def _splits(self) -> list[str]:
        """Split of each file: that of its folder, else a drawn one. Completes the places by the regular expressions."""
        params = self._params
        self._places = [
            Place(
                place.split,
                place.label,
                place.subject or _group(params.subject, path, "subject", self._where),
                place.video or _group(params.video, path, "video", self._where),
            )
            for place, path in zip(self._places, self._paths, strict=True)
        ]
        groups = [place.subject or place.video or path for place, path in zip(self._places, self._paths, strict=True)]
        return assign_splits([place.split for place in self._places], groups, params, self._where)


def _group(pattern: str | None, path: str, what: str, where: str) -> str:
    """Returns the text that a regular expression finds in a path: its group of this name, its first group, or all."""
    if pattern is None:
        return ""
    found = re.search(pattern, path)
    if found is None:
        raise DataError(f"the expression for `{what}` does not match this path", f"{where}/{path}", f"fix `{what}`")
    names = found.groupdict()
    return str(names.get(what) or (found.group(1) if found.re.groups else found.group()) or "")


def _listed(files: Files) -> str:
    """Lists endings of other files, for messages."""
    most = ", ".join(f"{count} x {suffix}" for suffix, count in files.other.most_common(5))
    return f"; it holds {most}" if most else ""
