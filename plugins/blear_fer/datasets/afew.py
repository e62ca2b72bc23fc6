"""AFEW, Acted Facial Expressions in the Wild, in the layout of the EmotiW challenges of 2017 and 2018 (spec 2.3)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Sample, Target
from blear.errors import DataError
from blear.imaging import Framing
from blear_emotions.labels import AFEW
from blear_emotions.published import compared_with_published
from blear_fer.datasets.afew_faces import FaceFrame, read_faces
from blear_fer.datasets.afew_files import LISTS, SPLITS, UNLABELLED, Clip, find_clips
from blear_fer.datasets.params import AfewParams, Split

_log = logging.getLogger(__name__)
SIZES = {"train": 773, "dev": 383}
"""Number of clips in each labelled split of AFEW 7.0, the edition of 2017 and 2018."""

_CLIPS_PER_PART = 16


class Afew:
    """Dataset of the labelled clips: train (773 clips) and dev (383 clips of the official validation set).

    With `unit: clip` a sample holds the 1 to `longest` faces of one clip; with `unit: frame` it holds one face, and
    `video` names the clip. `meta` holds `found` (1, or 0 if the clip has no face), `frames` (number of faces in the
    clip), `frame` (frame number, only with `unit: frame`) and `face_px` (the smaller side of the face box in pixels;
    for a clip, the minimum over its faces).

    A dev clip without a face becomes one black frame, and thus counts as an error of the model. A training clip
    without a face is left out. Both cases are logged, and so are faces beyond `longest`.

    Raises:
        DataError: from the methods, as `find_clips` and `read_faces` do. The constructor reads no file.
    """

    targets = (Target("emotion", "class", AFEW.names),)
    terms = (
        "AFEW / EmotiW (Dhall et al. 2012 and 2018), clips of feature films: academic research only, by signed "
        "agreement with the organisers, cs.anu.edu.au/few; do not pass on clips or faces."
    )

    def __init__(self, params: AfewParams, context: BuildContext) -> None:
        self._params = params
        one, several = ClipSpec(1, 3, *params.size), ClipSpec(params.longest, 3, *params.size, shortest=1)
        self.clip = one if params.unit == "frame" else several

    @cached_property
    def framing(self) -> Framing | None:
        """The framing of detected faces; None if the faces were cut out by somebody else."""
        if self._params.faces != "locate" or any(clip.extracted for clips in self._clips.values() for clip in clips):
            return None
        height, width = self._params.size
        return Framing("box", margin=self._params.margin, unit="sides", aspect=height / width)

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """train, and dev if its folder exists. The official test set has no labels and is left out."""
        for name in UNLABELLED:
            if (self._params.source / name).is_dir():
                _log.info("afew: %s has no labels and is left out", self._params.source / name)
        return tuple(self._clips)

    def parts(self, split: str) -> Sequence[str]:
        """Names of blocks of 16 clips, `<first>-<last>`: `0000-0015`."""
        count = len(self._clips_of(split))
        starts = range(0, count, _CLIPS_PER_PART)
        return [f"{first:04d}-{min(first + _CLIPS_PER_PART, count) - 1:04d}" for first in starts]

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """The samples of one block of clips, in the order of their names."""
        if part not in self.parts(split):
            raise DataError(f"no part is called {part!r}", str(self._params.source), "use the names that `parts` gives")
        first, last = (int(end) for end in part.split("-"))
        for clip in self._clips_of(split)[first : last + 1]:
            faces = list(islice(read_faces(clip, self._params), self._params.longest + 1))
            if len(faces) > self._params.longest:
                faces.pop()
                _log.warning("afew %s: faces after the first %d are left out", clip.path, self._params.longest)
            if faces:
                yield from self._samples(clip, faces, found=1)
            elif split == "train":
                _log.warning("afew %s: no face, the training clip is left out", clip.path)
            else:
                _log.warning("afew %s: no face, the clip is kept as a mistake", clip.path)
                blank = np.zeros((*self._params.size, 3), np.uint8)
                yield from self._samples(clip, [FaceFrame(blank, 0, 0.0)], found=0)

    def describe(self) -> Mapping[str, str]:
        """Number of clips of each split, compared with AFEW 7.0, the kind of their files, and missing splits."""
        counts = {f"{split}, clips": (len(clips), SIZES[split]) for split, clips in self._clips.items()}
        missing = [f"{SPLITS[split][0]} or {LISTS[split]}" for split in SPLITS if split not in self._clips]
        extracted = sum(clip.extracted for clips in self._clips.values() for clip in clips)
        faces = {"extracted faces": f"{extracted:,} clips; no face detection"} if extracted else {}
        return {**compared_with_published(counts, missing=missing), **faces}

    def _samples(self, clip: Clip, faces: Sequence[FaceFrame], found: int) -> Iterator[Sample]:
        meta = {"found": found, "frames": len(faces) * found, "face_px": min(face.pixels for face in faces)}
        frames_THWC = np.stack([face.face_HWC for face in faces])
        whole = Sample(self._key(clip), frames_THWC, {"emotion": clip.emotion}, video=clip.name, meta=meta)
        if self._params.unit == "clip":
            yield whole
            return
        for place, face in enumerate(faces):
            own = meta | {"frame": face.number, "face_px": face.pixels}
            key = f"{whole.key}/{face.number:05d}"
            yield replace(whole, key=key, frames=frames_THWC[place : place + 1], meta=own)

    def _key(self, clip: Clip) -> str:
        return f"{AFEW.names[clip.emotion]}/{clip.name}"

    def _clips_of(self, split: str) -> list[Clip]:
        if split not in self._clips:
            known = ", ".join(self._clips)
            if split == "test":
                what = "the official test set has no labels: its clips can be neither trained nor tested on"
                raise DataError(what, str(self._params.source), f"use one of {known}")
            if split in SPLITS:
                do = f"add one of {', '.join(SPLITS[split])}, or use one of {known}"
                raise DataError(f"split {split!r} is not there", str(self._params.source), do)
            raise DataError(f"no split is called {split!r}", str(self._params.source), f"use one of {known}")
        return self._clips[split]

    @cached_property
    def _clips(self) -> dict[Split, list[Clip]]:
        params = self._params
        clips = find_clips(
            params.source.expanduser().absolute(), params.lists, prefer_extracted=params.faces == "given"
        )
        if params.faces == "aligned":
            for split, found in clips.items():
                if all(clip.aligned is None or not clip.aligned.is_dir() for clip in found):
                    what = f"there are no aligned faces of the split {split}"
                    do = "unpack AlignedFaces_LBPTOP_Points into it, or set faces: locate"
                    raise DataError(what, str(found[0].path.parent.parent), do)
        return clips
