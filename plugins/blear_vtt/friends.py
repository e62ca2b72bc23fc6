"""VTT Friends, season 1: clips of four frames around each labelled face (spec section 2.3)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Sample
from blear.errors import DataError
from blear_emotions.labels import VTT
from blear_vtt.crops import crop_face, read_rgb
from blear_vtt.data_params import FriendsParams
from blear_vtt.friends_files import Marked, list_episodes, read_episode
from blear_vtt.targets import emotion_labels, emotion_targets, one_hot

FPS = 24000 / 1001
"""Frames of a second of the episodes; the annotations' own times count 24."""

_log = logging.getLogger(__name__)


class Friends:
    """One clip for each labelled face: the same box cut out of the frames of `window`; outside the picture is black.

    A part is an episode, so that no episode is in both splits (unless `all_episodes`). `subject` is the character,
    `video` the episode, `time` that of the key frame. A window that begins before the episode repeats its first frame.
    What is left out is counted by cause and logged as a warning.

    Raises:
        DataError: no annotations, an episode of `dev` is missing, or a frame is missing or broken.
    """

    targets = emotion_targets(VTT.names)
    splits: Sequence[str] = ("train", "dev")
    terms = (
        "Friends (Warner Bros.), annotated by the Video Turing Test project: neither video nor annotations may be "
        "passed on; research by agreement only."
    )

    def __init__(self, params: FriendsParams, context: BuildContext) -> None:
        self.params = params
        self.clip = ClipSpec(len(params.window), 3, params.pixels, params.pixels)

    def parts(self, split: str) -> list[str]:
        """Names of the episodes, `ep01`."""
        dev = set(self.params.dev)
        missing = sorted(dev - self._files.keys())
        if missing:
            what = f"there are no annotations of episodes {', '.join(map(str, missing))}, which are dev"
            raise DataError(what, str(self.params.source), f"set dev to some of {', '.join(map(str, self._files))}")
        if split not in self.splits:
            raise DataError(f"there is no split {split!r}", "vtt/friends", f"use one of: {', '.join(self.splits)}")
        return [f"ep{n:02d}" for n in self._files if (n in dev if split == "dev" else self._trained(n))]

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """The labelled faces of one episode in the order of the annotations."""
        if part not in self.parts(split):
            raise DataError(f"no part {part!r} in split {split!r}", "vtt/friends", "take one of parts(split)")
        episode = int(part.removeprefix("ep"))
        faces, lost = read_episode(self._files[episode], episode)
        if lost:
            causes = ", ".join(f"{count} {cause}" for cause, count in sorted(lost.items()))
            total = len(faces) + lost.total()
            _log.warning("%s: %d of %d faces left out: %s", self._files[episode], lost.total(), total, causes)
        for face in faces:
            yield self._sample(face, part)

    def _sample(self, face: Marked, part: str) -> Sample:
        folder = (self.params.frames or self.params.source) / part
        frames = [
            crop_face(read_rgb(_frame(folder, face.frame + step)), face.box, self.params, "black", face.where)
            for step in self.params.window
        ]
        character = re.sub(r"[^A-Za-z0-9_-]", "_", face.character)
        return Sample(
            key=f"{part}/{face.period:04d}_{character}_{face.frame:05d}",
            frames=np.stack(frames),
            targets=emotion_labels(one_hot(face.emotion, len(VTT)), VTT.names),
            subject=face.character,
            video=part,
            time=face.frame / FPS,
            meta={"period": face.period, "frame": face.frame, "face_px": float(min(face.box.width, face.box.height))},
        )

    def _trained(self, episode: int) -> bool:
        return self.params.all_episodes or episode not in self.params.dev

    @cached_property
    def _files(self) -> dict[int, Path]:
        return list_episodes(self.params.source)


def _frame(folder: Path, number: int) -> Path:
    path = folder / f"{max(0, number):05d}.jpg"
    if not path.is_file():
        do = f"write all frames of the episode: ffmpeg -i VIDEO -start_number 0 -qscale:v 2 {folder}/%05d.jpg"
        raise DataError("the frame is missing", str(path), do)
    return path
