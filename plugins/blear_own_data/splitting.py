"""Divides samples into splits by a hash of their subject, video or key, which is the same on every machine."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from blear.errors import DataError
from blear_own_data.split_params import SplitParams

SPLITS = ("train", "dev", "test")
_ALIASES = {
    "train": ("train", "training", "trn"),
    "dev": ("dev", "val", "valid", "validation"),
    "test": ("test", "testing", "tst"),
}
_SUFFIX = re.compile(r"[ _-]?(set|data|split|images|imgs|faces|videos|clips)$")


def known_split(name: str) -> str | None:
    """Returns the split that a folder or file name means, for instance `dev` for `Validation_set`; None: no split."""
    plain = _SUFFIX.sub("", name.casefold().strip())
    return next((split for split, names in _ALIASES.items() if plain in names), None)


def sort_splits(names: Sequence[str]) -> tuple[str, ...]:
    """Sorts names of splits: train, dev, test, then all others by name."""
    return tuple(sorted(set(names), key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name)))


def position(group: str) -> float:
    """Returns a pseudo-random number in [0, 1) that depends on the text alone."""
    text = unicodedata.normalize("NFC", f"blear split {group}")  # macOS stores names in another normal form
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:7]) / 2**56


def draw_splits(groups: Sequence[str], ranges: Mapping[str, tuple[float, float]]) -> list[str]:
    """Draws the split of each sample; all samples of a group get the same split.

    The groups are sorted by their hash; each split gets a range of that order. A new group therefore moves at most the
    groups at the borders of the ranges. Every split gets at least one group, if there are enough.

    Args:
        groups: group of each sample: its subject, video or key.
        ranges: split -> range of the sorted groups, as shares of their number; the rest is `train`.
    """
    split_of = _split_of_groups(groups, ranges)
    return [split_of[group] for group in groups]


def split_borders(
    groups: Iterable[str], ranges: Mapping[str, tuple[float, float]], where: str, folds: int | None = None
) -> dict[str, tuple[float, float]]:
    """Returns split -> the first and the last position of its groups, for groups that are met one at a time.

    A group between the borders of a split belongs to it, as `draw_splits` has it; all others belong to `train`.

    Args:
        groups: group of each sample.
        ranges: as for `draw_splits`.
        where: the source, for messages.
        folds: number of folds, if one of them is the split `test`.

    Raises:
        DataError: a split has no group.
    """
    split_of = _split_of_groups(groups, ranges)
    _require_groups(split_of, ranges, where, folds)
    places = {split: [position(group) for group, own in split_of.items() if own == split] for split in ranges}
    return {split: (min(of_split), max(of_split)) for split, of_split in places.items()}


def _split_of_groups(groups: Iterable[str], ranges: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Group -> its split."""
    ordered = sorted(set(groups), key=lambda group: (position(group), group))
    split_of = dict.fromkeys(ordered, "train")
    for split, (start, end) in ranges.items():
        first = round(start * len(ordered))
        last = max(round(end * len(ordered)), first + 1)
        for group in ordered[first:last]:
            split_of[group] = split
    return split_of


def _require_groups(split_of: Mapping[str, str], ranges: Mapping[str, object], where: str, folds: int | None) -> None:
    """Checks that every drawn split, every fold and `train` have a group.

    Raises:
        DataError: one has none, because there are too few groups.
    """
    empty = [split for split in sort_splits(["train", *ranges]) if split not in split_of.values()]
    if empty:
        what = f"{len(split_of)} subjects, videos or files cannot be divided: none is left for {', '.join(empty)}"
        raise DataError(what, where, "give more data, other shares, or a test split of its own")
    if folds is not None and folds > len(split_of):
        what = f"{len(split_of)} subjects, videos or files cannot be divided into {folds} folds"
        raise DataError(what, where, "give fewer folds, or more data")


def assign_splits(given: Sequence[str], groups: Sequence[str], params: SplitParams, where: str) -> list[str]:
    """Returns the split of each sample: the given one, or a drawn one.

    Args:
        given: split of each sample in the data; empty where there is none.
        groups: subject, else video, else key of each sample.
        params: shares or folds to draw.
        where: the source, for messages.

    Raises:
        DataError: the data have a split that is to be drawn, or only some samples have a split.
    """
    names = set(given)
    if "" in names and len(names) > 1:
        number = list(given).index("")
        raise DataError(f"{groups[number]} has no split, others have", where, "give every sample a split, or none")
    if "" in names:
        names, given = {"train"}, ["train"] * len(given)
    ranges = params.ranges() if params.drawn or names == {"train"} else {}
    if params.test is None and params.folds is None and params.dev is not None and "test" in names:
        ranges = {"dev": (0.0, params.dev)}  # the data have a test split, only dev is drawn
    if twice := sorted(names & ranges.keys()):
        do = f"remove `{'folds' if params.folds else twice[0]}`, or this split of the data"
        raise DataError(f"the data have a split {twice[0]!r} already", where, do)
    if not ranges:
        return list(given)
    if "train" not in names:
        raise DataError(f"the splits are {', '.join(sorted(names))}, and none is train", where, "name one `train`")
    chosen = [n for n, split in enumerate(given) if split == "train"]
    drawn = draw_splits([groups[n] for n in chosen], ranges)
    _require_groups({groups[n]: split for n, split in zip(chosen, drawn, strict=True)}, ranges, where, params.folds)
    result = list(given)
    for number, split in zip(chosen, drawn, strict=True):
        result[number] = split
    return result
