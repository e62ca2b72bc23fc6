"""FERPlus: FER2013's pictures with eight classes from ten votes each (Barsoum et al., ICMI 2016)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Sample, Target
from blear_emotions.labels import FERPLUS_CLASSES
from blear_fer.datasets.fer2013 import FRAMING, Fer2013, sample
from blear_fer.datasets.joined_votes import JoinedVotes
from blear_fer.datasets.params import Fer2013Params, FerplusParams
from blear_fer.datasets.protocols import SIDE
from blear_fer.datasets.votes import majority

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
        self._votes = JoinedVotes(params.votes or _votes_beside(params.source), params.source)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of FER2013 that exist."""
        return self._pictures.splits

    def parts(self, split: str) -> list[str]:
        """Names of blocks of about 4096 rows, counted before rows are excluded.

        Raises:
            DataError: the votes do not belong to these pictures: another number of rows, or another usage of a row.
        """
        self._votes.check(self._pictures.source)
        return self._pictures.parts(split)

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the faces of one block with a clear majority, in row order."""
        self._votes.check_order(self._pictures.source)
        usages, labels_N = self._pictures.usages(split), self._labels
        rows = kept = 0
        for face in self._pictures.source.read(usages, part):
            self._votes.check_face(face, usages)
            rows += 1
            if labels_N[face.row] >= 0:
                kept += 1
                yield sample(face, int(labels_N[face.row]))
        _log.info(
            "ferplus %s %s: %d of %d rows have no clear majority and are left out", split, part, rows - kept, rows
        )

    def describe(self) -> Mapping[str, str]:
        """Missing usages of FER2013, and the number of rows without a clear majority."""
        unclear = int((self._labels < 0).sum())
        return {**self._pictures.describe(), "rows without a clear majority": f"{unclear} of {len(self._labels)}"}

    @cached_property
    def _labels(self) -> np.ndarray:
        return majority(self._votes.votes.counts_NV)


def _votes_beside(source: Path) -> Path:
    folder = source.expanduser() if source.expanduser().is_dir() else source.expanduser().parent
    names = ("fer2013new.csv", "labels.csv")
    return next((folder / name for name in names if (folder / name).is_file()), folder / names[0])
