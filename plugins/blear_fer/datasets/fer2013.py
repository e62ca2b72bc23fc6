"""FER2013 (Goodfellow et al., Challenges in Representation Learning, 2013): 48 x 48 grey faces of seven emotions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Sample, Target
from blear.errors import DataError
from blear.imaging import Framing
from blear_emotions.labels import FER2013, FERPLUS
from blear_emotions.published import compared_with_published
from blear_fer.datasets.face_source import Face, Source
from blear_fer.datasets.folder_source import FolderSource
from blear_fer.datasets.joined_votes import JoinedVotes
from blear_fer.datasets.open_source import open_source
from blear_fer.datasets.params import Fer2013Params
from blear_fer.datasets.protocols import PROTOCOLS, SIDE, SIZES, USAGES

_TERMS = (
    "FER2013, web images of the Kaggle challenge in representation learning (Goodfellow et al. 2013), kaggle.com/c/"
    "challenges-in-representation-learning-facial-expression-recognition-challenge; the pictures carry no licence from "
    "their owners: research use only."
)

HOLDOUT = "holdout"
"""Name of the split of the training pictures that `holdout` takes out of `train`."""

FRAMING = Framing(margin=0.08)
"""The published pictures are squares about the face; their detector is not published.

Measured with `faces/retinaface` on 300 pictures, doubled and with a grey border: the box of the face has 0.77 x 0.96 of
the picture's sides, in its centre, and the margin is 0.081 (median; quartiles 0.045 and 0.128).
"""


class Fer2013:
    """Dataset of all rows of FER2013. A split exists if the source has rows of its usages.

    With `holdout`, a share of the training pictures forms a split of its own. With `votes`, each sample also has the
    shares of FERPlus's votes. Samples are stills, uint8 [1, 48, 48, 1]; `meta.row` is the row number. The constructor
    reads no file.
    """

    clip = ClipSpec(1, 1, SIDE, SIDE)
    framing = FRAMING
    terms = _TERMS

    def __init__(self, params: Fer2013Params, context: BuildContext) -> None:
        self.path = params.source
        self._usages = PROTOCOLS[params.protocol]
        self._holdout = params.holdout
        self._votes = None if params.votes is None else JoinedVotes(params.votes, params.source)
        votes = () if params.votes is None else (Target("votes", "distribution", FERPLUS.names),)
        self.targets = (Target("emotion", "class", FER2013.names), *votes)

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """train, dev and test if they have rows, and holdout."""
        present = set(self.source.usages().tolist())
        if USAGES.index("Training") not in present:
            raise DataError("split 'train' is empty: there are no Training rows", str(self.path), "check `source`")
        found = tuple(split for split, usages in self._usages.items() if present.intersection(usages))
        return (*found, HOLDOUT) if self._holdout else found

    def describe(self) -> Mapping[str, str]:
        """Rows of each usage, compared with the official file, missing usages, and the meaning of numbered folders."""
        rows = np.bincount(self.source.usages(), minlength=len(USAGES)).tolist()
        numbered = isinstance(self.source, FolderSource) and self.source.numbered
        lacking = [
            USAGES[usage]
            for usages in self._usages.values()
            for usage in usages
            if not rows[usage] and not (numbered and USAGES[usage] == "PublicTest")
        ]
        lines = {"missing": f"{', '.join(lacking)}: no rows here; the official fer2013.csv has them"} if lacking else {}
        if numbered:
            return lines | _numbered_folders(rows)
        counts = {usage: (found, size) for usage, found, size in zip(USAGES, rows, SIZES, strict=True) if found}
        return lines | compared_with_published(counts)

    def parts(self, split: str) -> list[str]:
        """Names of blocks of about 4096 rows, before `holdout` divides them.

        Raises:
            DataError: the split has no rows, or the votes do not belong to these pictures.
        """
        if self._votes is not None:
            self._votes.check(self.source)
        usages = self.usages(split)
        blocks = self.source.blocks(usages)
        if not blocks:
            what = f"split {split!r} is empty: there are no {' or '.join(USAGES[usage] for usage in usages)} rows"
            raise DataError(what, str(self.path), f"use one of {', '.join(self.splits)}")
        return blocks

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the faces of one block in row order."""
        usages = self.usages(split)
        if self._votes is not None:
            self._votes.check_order(self.source)
        for face in self.source.read(usages, part):
            if usages == self._usages["train"] and _is_held_out(face, self._holdout) != (split == HOLDOUT):
                continue
            votes = {} if self._votes is None else {"votes": self._votes.shares(face, usages)}
            yield sample(face, face.label, votes)

    @cached_property
    def source(self) -> Source:
        """The reader of the files at `params.source`."""
        return open_source(self.path)

    def usages(self, split: str) -> tuple[int, ...]:
        """Returns the usages of a split, as indices into `USAGES`.

        Raises:
            DataError: no such split.
        """
        known = (*self._usages, HOLDOUT) if self._holdout else tuple(self._usages)
        if split not in known:
            raise DataError(f"no split is called {split!r}", str(self.path), f"use one of {', '.join(known)}")
        return self._usages["train" if split == HOLDOUT else split]


def _numbered_folders(rows: Sequence[int]) -> dict[str, str]:
    """Lines of the description of `train/0..6` and `test/0..6`, from the number of rows of each usage."""
    training, public, private = SIZES
    names = ", ".join(f"{number} {name}" for number, name in enumerate(FER2013.names))
    lines = {"class folders": f"{names}: FER2013's numbers, not the alphabetical order"}
    lines |= compared_with_published({"train/": (rows[0], training + public), "test/": (rows[2], private)})
    lines["train/"] += ": Training and PublicTest together, which are the split train of protocol: fer_vgg_gru"
    lines["test/"] += ": PrivateTest"
    return lines


def _is_held_out(face: Face, share: float) -> bool:
    """Whether the pixels of a training picture belong to this share of all possible digests."""
    if not share:
        return False
    digest = hashlib.blake2b(np.ascontiguousarray(face.pixels_HW).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def sample(face: Face, emotion: int, votes: Mapping[str, Any] = MappingProxyType({})) -> Sample:
    """Converts a face, its class index and its votes into a still sample."""
    targets: dict[str, Any] = {"emotion": emotion, **votes}
    return Sample(face.key, face.pixels_HW[None, :, :, None], targets, meta={"row": face.row})
