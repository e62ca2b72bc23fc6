"""The dataset `faces/procedural`: samples of procedurally drawn faces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Sample, Target
from blear.errors import DataError
from blear.imaging import Framing, studio_luma
from blear_faces import expression
from blear_faces.expression import EMOTIONS
from blear_faces.params import ProceduralParams
from blear_faces.population import Rows, frames_of, population, units_at_apex
from blear_faces.render import render

FPS = 25.0
SUBJECTS_PER_PART = 8
FRAMES_AT_ONCE = 256
SPLITS = ("train", "dev", "test")
TARGETS = {
    "emotion": Target("emotion", "class", classes=EMOTIONS),
    "valence": Target("valence", "value", bounds=(-1.0, 1.0)),
    "arousal": Target("arousal", "value", bounds=(-1.0, 1.0)),
}


class ProceduralFaces:
    """Expressive faces drawn from counter-based random numbers (`contracts.Dataset`).

    A sample is a pure function of (seed, split, per_subject, recordings, identity, number). It does not depend on the
    part or on the number of identities. The labels of a clip are those of its apex, the frame of full expression in the
    middle third of the clip. `subject` is the identity, `video` is one of its recordings (light, background and usual
    pose are fixed within a recording), `time` is the time within the recording at 25 frames per second.
    """

    terms = "Drawn by a program from random numbers; no person is shown. Free for any use."

    def __init__(self, params: ProceduralParams, context: BuildContext) -> None:
        self.params = params
        self.seed = context.seed if params.seed is None else params.seed
        self.targets = [TARGETS[name] for name in dict.fromkeys(params.targets)]
        self.splits = SPLITS if params.subjects.test else SPLITS[:2]
        self.clip = ClipSpec(params.frames, 1 if params.color == "luma" else 3, params.pixels, params.pixels)
        self.grey_range: Literal["full", "studio"] = "studio" if params.color == "luma" else "full"
        margin = Framing(margin=0.12)  # a detector's box has 0.70 x 0.92 of the sides of a drawn picture
        self.framing = margin if params.scene is None else None
        counts = params.subjects
        self._subjects = dict(zip(self.splits, (counts.train, counts.dev, counts.test), strict=False))

    def parts(self, split: str) -> list[str]:
        """Blocks of up to eight identities, named by the first and the last one, for instance "0000-0007"."""
        n = self._count(split)
        return [f"{first:04d}-{min(first + SUBJECTS_PER_PART, n) - 1:04d}" for first in range(0, n, SUBJECTS_PER_PART)]

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the samples of a block, ordered by identity.

        Raises:
            DataError: the split has no such part.
        """
        if part not in self.parts(split):
            raise DataError(f"no part {part!r} in split {split!r}", "faces/procedural", "use a name of parts(split)")
        first, last = (int(end) for end in part.split("-"))
        each = self.params.per_subject
        start, stop = first * each, (last + 1) * each
        step = max(1, FRAMES_AT_ONCE // self.params.frames)
        for low in range(start, stop, step):
            yield from self._draw(split, np.arange(low, min(low + step, stop)))

    def _draw(self, split: str, index_N: np.ndarray) -> Iterator[Sample]:
        p = self.params
        subject_N, number_N = np.divmod(index_N, p.per_subject)
        rows = population(self.seed, SPLITS.index(split), subject_N, number_N, p.per_subject, p.recordings)
        images = render(in_scene(frames_of(rows, p.frames, FPS), p.size / p.pixels), p.pixels)
        if p.color == "luma":
            images = studio_luma(images)[..., None]
        clips = images.reshape(len(index_N), p.frames, *images.shape[1:])
        labels = _labels(rows)
        for i, (subject, number) in enumerate(zip(subject_N, number_N, strict=True)):
            name, recording = f"{split}_{subject:04d}", int(rows["recording"][i])
            before = -(-recording * p.per_subject // p.recordings)  # samples of earlier recordings
            yield Sample(
                key=f"{name}_{number:04d}",
                frames=clips[i],
                targets={target.name: labels[target.name][i].item() for target in self.targets},
                subject=name,
                video=f"{name}_r{recording}",
                time=float((number - before) * p.frames / FPS),
            )

    def _count(self, split: str) -> int:
        if split not in self._subjects:
            raise DataError(f"no split {split!r}", "faces/procedural", f"use one of: {', '.join(self.splits)}")
        return self._subjects[split]


def in_scene(rows: Rows, share: float) -> Rows:
    """Rows of frames that are larger than their faces' pictures, which stay at the centre.

    Args:
        rows: the columns of `population.frames_of`.
        share: side of the face's picture as a share of the frame's side.
    """
    if share == 1:
        return rows
    turned = 0.10 * np.sin(rows["yaw"])  # the head moves with its turn, see `appearance_of`
    return rows | {
        "scale": rows["scale"] * share,
        "shift_x": share * rows["shift_x"] + (1 - share) * turned,
        "shift_y": share * rows["shift_y"] + (1 - share) * 0.05,
    }


def _labels(rows: Rows) -> dict[str, np.ndarray]:
    units = units_at_apex(rows)
    return {
        "emotion": rows["emotion"].astype(np.int64),
        "valence": expression.valence(units),
        "arousal": expression.arousal(units),
    }
