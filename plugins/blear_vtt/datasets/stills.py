"""Common parts of AffectNet and RAF: the interface of their readers, and a dataset of one or several readers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from blear.contracts import ClipSpec, Sample
from blear.errors import DataError
from blear.imaging import Box, read_picture
from blear_emotions.labels import VTT
from blear_emotions.published import compared_with_published
from blear_vtt.datasets.crops import crop_face
from blear_vtt.datasets.params import StillParams
from blear_vtt.datasets.targets import Shares, emotion_labels, emotion_targets


@dataclass(frozen=True)
class Still:
    """One labelled face.

    Attributes:
        key: name of the sample, unique within its source.
        box: face box in the picture, in pixels; None: the picture is a face crop.
        shares: soft label: the share of each class of `labels.VTT`.
        where: file and row, for messages.
    """

    key: str
    picture: Path
    box: Box | None
    shares: Shares
    where: str
    meta: Mapping[str, str | int | float] = field(default_factory=dict)


class StillSource(Protocol):
    """Reader of labelled faces; does not read pixels. The splits are train and dev.

    The constructor reads no file. Invalid data raise `DataError`.
    """

    def parts(self, split: str) -> list[str]:
        """Returns the names of blocks of a split. Logs the number of excluded rows."""
        ...

    def stills(self, split: str, part: str) -> Iterator[Still]:
        """Yields the faces of one block."""
        ...

    def left_out(self, split: str) -> Mapping[str, int]:
        """Returns the number of excluded rows of a split by cause."""
        ...

    def face_counts(self) -> Mapping[str, tuple[int, int]]:
        """Returns the number of faces of each group: name -> (found, published)."""
        ...


class StillDataset:
    """A `contracts.Dataset` of one or several sources. Keys and parts begin with the source name, also `meta.source`.

    `meta.face_px` is the smaller side of the face box in pixels. A subclass defines `terms`.
    """

    targets = emotion_targets(VTT.names)
    terms: str

    def __init__(self, params: StillParams, sources: Mapping[str, StillSource]) -> None:
        self.params = params
        self.splits: tuple[str, ...] = ("train",) if params.pool_splits else ("train", "dev")
        self.clip = ClipSpec(1, 3, params.pixels, params.pixels)
        self.framing = params.framing
        self._sources = sources

    def parts(self, split: str) -> list[str]:
        """Names `<source>/<split of the source>/<block>`."""
        return [
            f"{name}/{own}/{part}"
            for name, source in self._sources.items()
            for own in self._own(split)
            for part in source.parts(own)
        ]

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the cropped faces of one block."""
        name, _, rest = part.partition("/")
        own, _, block = rest.partition("/")
        if name not in self._sources or own not in self._own(split):
            raise DataError(f"no part {part!r} in split {split!r}", "vtt", "take one of parts(split)")
        for still in self._sources[name].stills(own, block):
            yield self._sample(name, still, split)

    def describe(self) -> Mapping[str, str]:
        """Number of faces of each source, compared with the published numbers, and excluded rows of each split."""
        counts = {
            f"{name}, {what}": both
            for name, source in self._sources.items()
            for what, both in source.face_counts().items()
        }
        lost = {
            f"{name}, {split}, left out": source.left_out(split)
            for name, source in self._sources.items()
            for split in ("train", "dev")
        }
        return compared_with_published(counts) | {
            what: ", ".join(f"{count} {cause}" for cause, count in each.items()) for what, each in lost.items() if each
        }

    def _sample(self, source: str, still: Still, split: str) -> Sample:
        image_HWC = read_picture(still.picture)
        padding = self.params.padding if split == "train" else "black"
        face_HWC = crop_face(image_HWC, still.box, self.params, padding, still.where)
        sides = image_HWC.shape[:2] if still.box is None else (still.box.width, still.box.height)
        return Sample(
            key=f"{source}/{still.key}",
            frames=face_HWC[None],
            targets=emotion_labels(still.shares, VTT.names),
            meta={"source": source, "face_px": float(min(sides)), **still.meta},
        )

    def _own(self, split: str) -> tuple[str, ...]:
        """Returns the splits of the sources that form a split of the dataset."""
        if split not in self.splits:
            raise DataError(f"there is no split {split!r}", "vtt", f"use one of: {', '.join(self.splits)}")
        return ("train", "dev") if self.params.pool_splits else (split,)
