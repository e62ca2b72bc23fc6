"""AffectNet (Mollahosseini, Hasani, Mahoor 2017): labelled faces of both releases (spec section 2.1)."""

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
"""Number of faces of the seven emotions in the first release, by split."""

AFFECTNET_TO_VTT = mapping(AFFECTNET, VTT)
"""AffectNet's expression number -> class index in `labels.VTT`; None: the row is left out."""

_log = logging.getLogger(__name__)


class Release(Protocol):
    """Reader of one release of AffectNet."""

    def counts(self, split: str) -> Counter[int | str]:
        """Returns the number of rows of a split by expression number. Rows with a NULL box count under `NO_BOX`."""
        ...

    def blocks(self, split: str) -> list[str]:
        """Returns the names of blocks of rows."""
        ...

    def rows(self, split: str, block: str, wanted: Collection[int]) -> Iterator[tuple[int, Still]]:
        """Yields expression number and face of each row of a block with a wanted number and a box; `shares` is ()."""
        ...


class AffectNet:
    """`StillSource` of the rows with one of the seven emotions. dev is AffectNet's validation set.

    Excluded rows are counted by cause (`left_out`) and logged as a warning.

    Args:
        source: folder of one of the two releases. A folder with training.csv is the first release.
    """

    def __init__(self, source: Path) -> None:
        self._source = source

    def parts(self, split: str) -> list[str]:
        """Names of the blocks of the release."""
        lost, rows = self.left_out(split), self._release.counts(split).total()
        if lost:
            causes = ", ".join(f"{count} {cause}" for cause, count in lost.items())
            _log.warning(
                "%s, split %s: %d of %d rows left out: %s", self._source, split, sum(lost.values()), rows, causes
            )
        return self._release.blocks(split)

    def stills(self, split: str, part: str) -> Iterator[Still]:
        """Yields the faces of one block, without the excluded rows."""
        labels = {number: label for number, label in enumerate(AFFECTNET_TO_VTT) if label is not None}
        for number, still in self._release.rows(split, part, labels):
            yield replace(still, shares=one_hot(labels[number], len(VTT)))

    def left_out(self, split: str) -> Mapping[str, int]:
        """Number of excluded rows by cause: name of the expression, or `NO_BOX`."""
        counts = self._release.counts(split)
        lost: dict[str, int] = {
            AFFECTNET.names[n]: counts[n] for n, label in enumerate(AFFECTNET_TO_VTT) if label is None and counts[n]
        }
        return lost | ({NO_BOX: counts[NO_BOX]} if counts[NO_BOX] else {})

    def face_counts(self) -> Mapping[str, tuple[int, int]]:
        """Number of faces of the seven emotions with a box, by split: (found, published)."""
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
