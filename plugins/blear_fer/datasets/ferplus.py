"""FERPlus: FER2013's pictures with eight classes from ten votes each (Barsoum et al., ICMI 2016)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Sample, Target
from blear.errors import DataError
from blear_emotions.labels import FERPLUS_CLASSES
from blear_fer.datasets.fer2013 import FRAMING, Fer2013, sample
from blear_fer.datasets.params import Fer2013Params, FerplusParams
from blear_fer.datasets.protocols import SIDE, USAGES
from blear_fer.datasets.votes import majority, read_votes

_log = logging.getLogger(__name__)


class Ferplus:
    """Dataset of the rows whose votes have a clear majority. The number of excluded rows of each part is logged.

    Pictures and votes are joined by row order. The number in the image names of FERPlus is not the row number.
    """

    targets = (Target("emotion", "class", FERPLUS_CLASSES),)
    clip = ClipSpec(1, 1, SIDE, SIDE)
    framing = FRAMING
    terms = f"{Fer2013.terms} Labels: FERPlus (Barsoum et al. 2016), MIT licence, github.com/microsoft/FERPlus."

    def __init__(self, params: FerplusParams, context: BuildContext) -> None:
        self._pictures = Fer2013(Fer2013Params(source=params.source), context)
        self._votes_path = params.votes or _votes_beside(params.source)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of FER2013 that exist."""
        return self._pictures.splits

    def parts(self, split: str) -> list[str]:
        """Names of blocks of about 4096 rows, counted before rows are excluded.

        Raises:
            DataError: the votes do not belong to these pictures: another number of rows, or another usage of a row.
        """
        self._check_order()
        usages_N, _ = self._labels
        ours_N = self._pictures.source.usages()
        if len(ours_N) != len(usages_N):
            what = f"{len(usages_N)} rows of votes for {len(ours_N)} pictures"
            raise DataError(what, str(self._votes_path), "take both from the same release; rows are joined by order")
        for row in np.flatnonzero(ours_N != usages_N)[:1]:
            self._raise_mismatch(int(row), int(ours_N[row]), int(usages_N[row]))
        return self._pictures.parts(split)

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the faces of one block with a clear majority, in row order."""
        self._check_order()
        (usage,) = usages = self._pictures.usages(split)
        usages_N, labels_N = self._labels
        rows = kept = 0
        for face in self._pictures.source.read(usages, part):
            if face.row >= len(usages_N):
                what = f"{len(usages_N)} rows of votes, but the pictures have a row {face.row}"
                raise DataError(what, str(self._votes_path), "take both from the same release")
            if usages_N[face.row] != usage:
                self._raise_mismatch(face.row, usage, int(usages_N[face.row]))
            rows += 1
            if labels_N[face.row] >= 0:
                kept += 1
                yield sample(face, int(labels_N[face.row]))
        _log.info(
            "ferplus %s %s: %d of %d rows have no clear majority and are left out", split, part, rows - kept, rows
        )

    def describe(self) -> Mapping[str, str]:
        """Missing usages of FER2013, and the number of rows without a clear majority."""
        unclear = int((self._labels[1] < 0).sum())
        return {**self._pictures.describe(), "rows without a clear majority": f"{unclear} of {len(self._labels[1])}"}

    @cached_property
    def _labels(self) -> tuple[np.ndarray, np.ndarray]:
        votes = read_votes(self._votes_path)
        return votes.usages_N, majority(votes.counts_NV)

    def _check_order(self) -> None:
        if not self._pictures.source.ordered:
            what = "class folders have lost the official row order, which joins the votes to the images"
            raise DataError(what, str(self._pictures.path), "set `source` to fer2013.csv or icml_face_data.csv")

    def _raise_mismatch(self, row: int, ours: int, theirs: int) -> None:
        what = f"Usage is {USAGES[theirs]} for the votes and {USAGES[ours]} for the picture"
        do = "rows are joined by order: use both files as released, neither sorted nor filtered"
        raise DataError(what, f"{self._votes_path}, row {row}", do)


def _votes_beside(source: Path) -> Path:
    folder = source.expanduser() if source.expanduser().is_dir() else source.expanduser().parent
    names = ("fer2013new.csv", "labels.csv")
    return next((folder / name for name in names if (folder / name).is_file()), folder / names[0])
