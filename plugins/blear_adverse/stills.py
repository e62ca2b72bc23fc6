"""Base class of the readers of labelled stills: splits, parts, keys."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from blear.contracts import ClipSpec, Sample, Target
from blear.errors import DataError

_PART = 5000


class Pictures(NamedTuple):
    """Pictures, uint8 [N, H, W, C], and their class indices, int [N]."""

    frames_NHWC: np.ndarray
    labels_N: np.ndarray


class Stills(ABC):
    """Dataset with a training and a test set of pictures of one size. The last `hold_out` training samples are "dev".

    The constructor reads no file. A subclass defines `targets` (one class target), `clip`, `terms` and `read`.
    """

    targets: Sequence[Target]
    clip: ClipSpec
    terms: str

    def __init__(self, source: Path, hold_out: int) -> None:
        self.source, self.hold_out = source, hold_out
        self.splits = ("train", "dev", "test") if hold_out else ("train", "test")

    @abstractmethod
    def read(self, training: bool) -> Pictures:
        """Reads the training or the test pictures in the order of the files."""

    def parts(self, split: str) -> list[str]:
        """Names of blocks of up to 5,000 rows of the files: "00000-04999"."""
        rows = self._rows(split)
        return [f"{low:05d}-{min(low + _PART, rows.stop) - 1:05d}" for low in range(rows.start, rows.stop, _PART)]

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the pictures of a block. `meta.row` is the row in the training or test files."""
        pictures = self._of(split)
        first, last = map(int, part.split("-"))
        for row in range(first, last + 1):
            yield Sample(
                key=f"{split}_{row:05d}",
                frames=pictures.frames_NHWC[row][None],
                targets={self.targets[0].name: int(pictures.labels_N[row])},
                meta={"row": row},
            )

    def _rows(self, split: str) -> range:
        if split not in self.splits:
            raise DataError(f"no split is called {split!r}", str(self.source), f"use one of {', '.join(self.splits)}")
        count = len(self._of(split).labels_N)
        if split == "test":
            return range(count)
        if self.hold_out >= count:
            what = f"hold_out {self.hold_out} leaves none of the {count} training samples"
            raise DataError(what, str(self.source), "lower hold_out")
        return range(count - self.hold_out, count) if split == "dev" else range(count - self.hold_out)

    def _of(self, split: str) -> Pictures:
        return self._test if split == "test" else self._train

    @cached_property
    def _train(self) -> Pictures:
        return self._checked(True)

    @cached_property
    def _test(self) -> Pictures:
        return self._checked(False)

    def _checked(self, training: bool) -> Pictures:
        pictures = self.read(training)
        count = len(self.targets[0].classes)
        if len(pictures.labels_N) == 0:
            raise DataError("holds no picture", str(self.source), "fetch it again")
        wrong = np.flatnonzero((pictures.labels_N < 0) | (pictures.labels_N >= count))
        if len(wrong):
            what = f"row {wrong[0]} has the label {pictures.labels_N[wrong[0]]}, there are {count} classes"
            raise DataError(what, str(self.source), "fetch it again")
        return pictures
