"""CK+ (Lucey et al. 2010): posed sequences from neutral to apex, with subject-independent folds (spec section 2.5)."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Sample
from blear.errors import DataError
from blear.imaging import Box, read_picture
from blear_emotions.labels import CANONICAL, CKPLUS, VTT, canonical
from blear_emotions.published import compared_with_published
from blear_vtt.datasets.crops import crop_face
from blear_vtt.datasets.params import CkPlusParams
from blear_vtt.datasets.targets import emotion_labels, emotion_targets, one_hot

SEQUENCES, LABELLED = 593, 327
"""Number of sequences of the release, and number of those with an emotion label."""

UNLABELLED = "without label"
_IMAGES, _POINTS = "cohn-kanade-images", 68
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PosedSequence:
    """One labelled sequence: its frames in order, and its class index in the dataset's classes."""

    subject: str
    name: str
    frames: tuple[Path, ...]
    emotion: int


class CkPlus:
    """Dataset of stills: the first frame of a sequence as neutral, its last frames with the sequence's label.

    A part is a subject. The split dev holds the subjects of one fold: every `folds`-th subject in name order. Sequences
    without a label, and contempt unless `contempt` is set, are left out, counted and logged as a warning.

    Raises:
        DataError: a folder is missing, a fold is empty, or a label, a picture or landmarks are invalid.
    """

    splits: Sequence[str] = ("train", "dev")
    terms = (
        "CK+ (Kanade, Cohn, Tian 2000; Lucey et al. 2010): non-commercial research by agreement with the University of "
        "Pittsburgh, jeffcohn.net/resources; only some subjects may be shown in print."
    )

    def __init__(self, params: CkPlusParams, context: BuildContext) -> None:
        self.params = params
        self.classes = CANONICAL if params.contempt else VTT.names
        self.targets = emotion_targets(self.classes)
        self.clip = ClipSpec(1, 3, params.pixels, params.pixels)
        self.framing = params.framing

    def parts(self, split: str) -> list[str]:
        """Names of the subjects with a labelled sequence: `S005`, ..."""
        if split not in self.splits:
            raise DataError(f"there is no split {split!r}", "vtt/ckplus", f"use one of: {', '.join(self.splits)}")
        sequences, lost = self._read
        labels = self.params.source / "Emotion"
        if lost:
            causes = ", ".join(f"{count} {cause}" for cause, count in sorted(lost.items()))
            total = len(sequences) + lost.total()
            _log.warning("%s: %d of %d sequences left out: %s", self.params.source, lost.total(), total, causes)
        if not sequences:
            what = f"no sequence has a label: {'Emotion/ has no file of them' if labels.is_dir() else 'no such folder'}"
            raise DataError(what, str(labels), "add the folder Emotion of the release, which is a file of its own")
        subjects = sorted({sequence.subject for sequence in sequences})
        held_out = subjects[self.params.fold :: self.params.folds]
        chosen = held_out if split == "dev" else [name for name in subjects if name not in held_out]
        if not chosen:
            what = f"split {split!r} is empty: {len(subjects)} subjects in {self.params.folds} folds"
            raise DataError(what, str(self.params.source), "lower folds")
        return chosen

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the stills of one subject, sequence by sequence."""
        for sequence in self._read[0]:
            if sequence.subject == part:
                neutral = self.classes.index("neutral")
                yield self._sample(sequence, sequence.frames[0], neutral)
                for frame in sequence.frames[max(1, len(sequence.frames) - self.params.apex) :]:
                    yield self._sample(sequence, frame, sequence.emotion)

    def describe(self) -> Mapping[str, str]:
        """Number of sequences and labels, compared with the release, and missing folders."""
        sequences, lost = self._read
        labelled = len(sequences) + lost.total() - lost[UNLABELLED]
        counts = {"sequences": (len(sequences) + lost.total(), SEQUENCES), "with a label": (labelled, LABELLED)}
        folders = ("Emotion", "Landmarks") if self.params.crop == "landmarks" else ("Emotion",)
        return compared_with_published(
            counts, missing=[name for name in folders if not (self.params.source / name).is_dir()]
        )

    def _sample(self, sequence: PosedSequence, frame: Path, emotion: int) -> Sample:
        box = self._box(sequence, frame) if self.params.crop == "landmarks" else None
        image_HWC = read_picture(frame)
        sides = image_HWC.shape[:2] if box is None else (box.width, box.height)
        return Sample(
            key=f"{sequence.subject}/{sequence.name}/{frame.stem}",
            frames=crop_face(image_HWC, box, self.params, "black", str(frame))[None],
            targets=emotion_labels(one_hot(emotion, len(self.classes)), self.classes),
            subject=sequence.subject,
            video=f"{sequence.subject}_{sequence.name}",
            meta={"face_px": float(min(sides))},
        )

    def _box(self, sequence: PosedSequence, frame: Path) -> Box:
        """Returns the bounding box of the landmarks of a frame."""
        folder = self.params.source / "Landmarks" / sequence.subject / sequence.name
        file = folder / f"{frame.stem}_landmarks.txt"
        values = _numbers(file)
        if len(values) != 2 * _POINTS:
            what = f"{len(values)} numbers instead of {_POINTS} points x y"
            raise DataError(what, str(file), "use CK+ as released, or set crop to whole")
        points_P2 = np.array(values).reshape(-1, 2)
        (left, top), (right, bottom) = points_P2.min(axis=0).tolist(), points_P2.max(axis=0).tolist()
        return Box(left, top, right - left, bottom - top)

    @cached_property
    def _read(self) -> tuple[list[PosedSequence], Counter[str]]:
        root = self.params.source / _IMAGES
        if not root.is_dir():
            raise DataError("no such folder", str(root), f"give the folder that holds {_IMAGES}/, Emotion/, Landmarks/")
        found: list[PosedSequence] = []
        lost: Counter[str] = Counter()
        for folder in sorted(path for path in root.glob("[!.]*/[!.]*") if path.is_dir()):
            subject, name = folder.parent.name, folder.name
            frames = tuple(sorted(path for path in folder.glob("*.png") if re.fullmatch(r"\w+_\d+", path.stem)))
            if not frames:
                raise DataError("the sequence has no picture", str(folder), "use CK+ as released")
            label = self.params.source / "Emotion" / subject / name / f"{frames[-1].stem}_emotion.txt"
            if not label.is_file():
                lost[UNLABELLED] += 1
                continue
            emotion = canonical(CKPLUS.names[_code(label)])
            if emotion in self.classes:
                found.append(PosedSequence(subject, name, frames, self.classes.index(emotion)))
            else:
                lost[str(emotion)] += 1
        return found, lost


def _code(file: Path) -> int:
    values = _numbers(file)
    if len(values) != 1 or values[0] not in range(len(CKPLUS)):
        what = f"{' '.join(f'{value:g}' for value in values)!r} is not a code from 0 to {len(CKPLUS) - 1}"
        raise DataError(what, str(file), "use CK+ as released")
    return int(values[0])


def _numbers(file: Path) -> list[float]:
    try:
        return [float(word) for word in file.read_text(encoding="utf-8-sig").split()]
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read: {error}", str(file), "use CK+ as released") from error
