"""Datasets: labelled clips, the protocol of their readers, and its optional additions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from blear.contracts.component import ClipSpec, Target
from blear.imaging import Framing

Label = int | float | Sequence[float] | np.ndarray
"""The label of one sample: a class index, a regression value, or the shares of K classes."""
MOST_FLOAT = 10.0
"""Largest absolute value of float32 frames, which are in about [0, 1]; larger ones are mostly in 0..255."""


@dataclass(frozen=True)
class Sample:
    """One labelled clip from a dataset.

    Attributes:
        key: identifier of the sample, unique within its split and the same each time, `[A-Za-z0-9_/-]+`. Dots are not
            allowed, because WebDataset splits file names at dots.
        frames: [T, H, W, C]; uint8 in 0..255 (stored losslessly as PNG), or float32 in about [0, 1] (stored as npy).
        targets: target name -> class index (int), regression value (float), or the shares of the classes: K numbers
            from 0 that sum to 1 within 1e-4, stored as float32.
        clean: `frames` without the degradation that the raw data already has, possibly at a lower resolution; the
            ground truth of restoration. None: training uses the frames before the job's degradations. Must be None
            in datasets whose clips differ in length.
        subject: identifier of the person, for metrics by person and confidence intervals; empty if unknown.
        video: identifier of the recording, for the same purpose; empty if unknown.
        time: seconds from the start of the recording; None if unknown.
        meta: additional metadata, stored with the sample and usable in a stage's `draw`. Two keys have a meaning and
            become columns of the predictions table: `face_px`, width of the face in pixels, and `found`, 0 if no face
            was detected (the prediction is then left out of pooling and counted as missed).
    """

    key: str
    frames: np.ndarray
    targets: Mapping[str, Label]
    clean: np.ndarray | None = None
    subject: str = ""
    video: str = ""
    time: float | None = None
    meta: Mapping[str, str | int | float] = field(default_factory=dict)


@runtime_checkable
class Dataset(Protocol):
    """Reads raw data in one layout. It is used only while shards are written (`blear prepare`).

    Attributes:
        targets: the labels of each sample.
        splits: names of the splits, the training split first.
        clip: shape of every sample.
        terms: licence and source of the raw data in one or two sentences, stored with the shards. As a class attribute
            it is available before the raw data is.

    Raises:
        DataError: raw data is missing or damaged; names file, row and reason. From any method and from the constructor.
    """

    targets: Sequence[Target]
    splits: Sequence[str]
    clip: ClipSpec
    terms: str

    def parts(self, split: str) -> Sequence[str]:
        """Returns the names of the independent parts of a split, in order. Parts are read in parallel.

        A part is for instance a video or a block of rows.

        Raises:
            DataError: there is no such split.
        """
        ...

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Iterates over the samples of one part: the same samples in the same order each time.

        Raises:
            DataError: there is no such split or part, or a file is damaged.
        """
        ...


@runtime_checkable
class Described(Protocol):
    """Optional addition to `Dataset`: more lines in the output of `blear prepare --describe`."""

    def describe(self) -> Mapping[str, str]:
        """Returns topic -> one line, for instance which raw files are missing, or how many rows are skipped and why."""
        ...


@runtime_checkable
class Framed(Protocol):
    """Optional addition to `Dataset`: states how its faces were cut out of their pictures.

    Attributes:
        framing: stored with the shards and with each trained stage, so that prediction cuts faces alike; None: unknown.
    """

    framing: Framing | None


@runtime_checkable
class GreyRange(Protocol):
    """Optional addition to `Dataset` of grey clips: states how its luma was computed from colour; else full range.

    Attributes:
        grey_range: "full": 0 to 255; "studio": 16 to 235, as `imaging.studio_luma`. Stored with the shards and with
            each trained stage, so that prediction converts colour pictures alike.
    """

    grey_range: Literal["full", "studio"]
