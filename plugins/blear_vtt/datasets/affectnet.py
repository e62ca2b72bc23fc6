"""AffectNet (Mollahosseini, Hasani, Mahoor 2017) as labelled faces; both releases (spec section 2.1)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from blear.errors import DataError
from blear_emotions.labels import AFFECTNET, VTT, mapping
from blear_vtt.datasets.affectnet_csv import NO_BOX, CsvRelease
from blear_vtt.datasets.affectnet_folders import FolderRelease
from blear_vtt.datasets.stills import Still
from blear_vtt.datasets.targets import one_hot

TERMS = (
    "AffectNet (Mollahosseini, Hasani, Mahoor 2017): web pictures, non-commercial research by agreement with the "
    "University of Denver, mohammadmahoor.com/affectnet; do not pass pictures on."
)
SIZES = {"train": 283_901, "dev": 3_500}
"""Faces of the seven emotions in the first release."""

AFFECTNET_TO_VTT = mapping(AFFECTNET, VTT)
"""Class of `labels.VTT` of each number in AffectNet's files; None: left out."""

_log = logging.getLogger(__name__)


class Release(Protocol):
    """One of the forms in which AffectNet is handed out."""

    def counts(self, split: str) -> Counter[int | str]:
        """Rows of a split by expression number; rows whose box is NULL under `NO_BOX`, whatever their expression."""
        ...

    def blocks(self, split: str) -> list[str]:
        """Names of blocks of rows."""
        ...

    def rows(self, split: str, block: str, wanted: Collection[int]) -> Iterator[tuple[int, Still]]:
        """Expression number and face of the rows of a block with a wanted number and a box; without shares yet."""
        ...


class AffectNet:
    """A `StillSource` of the rows that show one of the seven emotions; training is train, validation is dev.

    What is left out is counted by cause (`left_out`) and logged as a warning.

    Args:
        source: the folder of either release; the one that has a training.csv is the first.
    """

    def __init__(self, source: Path) -> None:
        self._source = source

    def parts(self, split: str) -> list[str]:
        """The release's blocks."""
        lost, rows = self.left_out(split), self._release.counts(split).total()
        if lost:
            causes = ", ".join(f"{count} {cause}" for cause, count in lost.items())
            _log.warning(
                "%s, split %s: %d of %d rows left out: %s", self._source, split, sum(lost.values()), rows, causes
            )
        return self._release.blocks(split)

    def stills(self, split: str, part: str) -> Iterator[Still]:
        """The faces of one block that are not left out."""
        labels = {number: label for number, label in enumerate(AFFECTNET_TO_VTT) if label is not None}
        for number, still in self._release.rows(split, part, labels):
            yield replace(still, shares=one_hot(labels[number], len(VTT)))

    def left_out(self, split: str) -> Mapping[str, int]:
        """Rows that are no samples: name of the expression, or `NO_BOX` -> how many."""
        counts = self._release.counts(split)
        lost: dict[str, int] = {
            AFFECTNET.names[n]: counts[n] for n, label in enumerate(AFFECTNET_TO_VTT) if label is None and counts[n]
        }
        return lost | ({NO_BOX: counts[NO_BOX]} if counts[NO_BOX] else {})

    def face_counts(self) -> Mapping[str, tuple[int, int]]:
        """Faces of the seven emotions with a box, of each split."""
        kept = {}
        for split, size in SIZES.items():
            counts = self._release.counts(split)
            kept[split] = counts.total() - sum(self.left_out(split).values()), size
        return kept

    @cached_property
    def _release(self) -> Release:
        if (self._source / "training.csv").is_file():
            return CsvRelease(self._source)
        if (self._source / "train_set").is_dir():
            return FolderRelease(self._source)
        do = "give the folder that has training.csv, or train_set with images and annotations in it"
        raise DataError("neither release of AffectNet", str(self._source), do)
