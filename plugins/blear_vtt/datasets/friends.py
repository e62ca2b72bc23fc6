"""VTT Friends, season 1: clips of four frames around each labelled face (spec section 2.3)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Sample
from blear.errors import DataError
from blear.imaging import read_picture
from blear_emotions.labels import VTT
from blear_emotions.published import compared_with_published
from blear_vtt.datasets.crops import crop_face
from blear_vtt.datasets.friends_files import LabelledFace, list_episodes, read_episode
from blear_vtt.datasets.friends_index import IndexedFace, read_index
from blear_vtt.datasets.params import INDEXED_WINDOW, FriendsParams
from blear_vtt.datasets.targets import emotion_labels, emotion_targets, one_hot

FPS = 24000 / 1001
"""Frame rate of the episodes. The times in the annotations assume 24 frames per second."""

FACES = 13_369
"""Number of labelled faces in episodes 1 to 10, as the authors' program prints it."""

EPISODES = 10
"""Number of episodes with annotations."""

_log = logging.getLogger(__name__)


class Friends:
    """Dataset with one clip for each labelled face: the same box cropped from the frames of `window`.

    Crops beyond the picture are padded with black. A part is an episode: no episode is in both splits, unless
    `all_episodes` is set. `subject` is the character, `video` the episode, `time` the time of the key frame in seconds.
    A window that begins before the episode repeats its first frame. Excluded faces are counted by cause and logged as
    a warning. With `index` the dataset has the clips listed in the index.

    Raises:
        DataError: the annotations or an episode of `dev` are missing, or a frame is missing or damaged.
    """

    targets = emotion_targets(VTT.names)
    terms = (
        "Friends (Warner Bros.), annotated by the Video Turing Test project (IITP 2017-0-01780): neither video nor "
        "annotations may be passed on; ask the project for research use."
    )

    def __init__(self, params: FriendsParams, context: BuildContext) -> None:
        self.params = params
        self.clip = ClipSpec(len(params.window), 3, params.pixels, params.pixels)
        self.framing = params.framing
        only_dev = set(params.dev) >= set(range(1, EPISODES + 1)) and not params.all_episodes
        self.splits: Sequence[str] = ("dev",) if only_dev else ("train", "dev")

    def parts(self, split: str) -> list[str]:
        """Names of the episodes: `ep01`, ..."""
        dev = set(self.params.dev)
        missing = sorted(dev - set(self._episodes))
        if missing:
            what = f"there are no annotations of episodes {', '.join(map(str, missing))}, which are dev"
            raise DataError(what, str(self.params.source), f"set dev to some of {', '.join(map(str, self._episodes))}")
        if split not in self.splits:
            raise DataError(f"there is no split {split!r}", "vtt/friends", f"use one of: {', '.join(self.splits)}")
        return [f"ep{n:02d}" for n in self._episodes if (n in dev if split == "dev" else self._is_trained_on(n))]

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the labelled faces of one episode in the order of the annotations; with `index`, ordered by period."""
        if part not in self.parts(split):
            raise DataError(f"no part {part!r} in split {split!r}", "vtt/friends", "take one of parts(split)")
        episode = int(part.removeprefix("ep"))
        if self._index is not None:
            yield from map(self._indexed_sample, self._index[episode])
            return
        faces, lost = read_episode(self._files[episode], episode)
        if lost:
            causes = ", ".join(f"{count} {cause}" for cause, count in sorted(lost.items()))
            total = len(faces) + lost.total()
            _log.warning("%s: %d of %d faces left out: %s", self._files[episode], lost.total(), total, causes)
        for face in faces:
            yield self._annotated_sample(face, part)

    def describe(self) -> Mapping[str, str]:
        """Number of labelled faces, compared with the release, and missing folders of frames."""
        if self._index is not None:
            faces = sum(map(len, self._index.values()))
            folders = [f"ep{n:02d}_p_img" for n in self._episodes]
        else:
            faces = sum(len(read_episode(file, episode)[0]) for episode, file in self._files.items())
            folders = [f"ep{n:02d}" for n in self._episodes]
        absent = [name for name in folders if not (self._frames / name).is_dir()]
        return compared_with_published({"labelled faces": (faces, FACES)}, missing=absent)

    def _annotated_sample(self, face: LabelledFace, part: str) -> Sample:
        frames = [
            crop_face(
                read_picture(_frame(self._frames / part, face.frame + step)), face.box, self.params, "black", face.where
            )
            for step in self.params.window
        ]
        return self._sample(face, frames, {"face_px": float(min(face.box.width, face.box.height))})

    def _indexed_sample(self, face: IndexedFace) -> Sample:
        pictures = [face.pictures[INDEXED_WINDOW.index(step)] for step in self.params.window]
        frames = [
            crop_face(read_picture(self._frames / each), None, self.params, "black", face.where) for each in pictures
        ]
        return self._sample(face, frames, {})

    def _sample(self, face: LabelledFace | IndexedFace, frames: list[np.ndarray], meta: Mapping[str, float]) -> Sample:
        episode = f"ep{face.episode:02d}"
        character = re.sub(r"[^A-Za-z0-9_-]", "_", face.character)
        return Sample(
            key=f"{episode}/{face.period:04d}_{character}_{face.frame:05d}",
            frames=np.stack(frames),
            targets=emotion_labels(one_hot(face.emotion, len(VTT)), VTT.names),
            subject=face.character,
            video=episode,
            time=face.frame / FPS,
            meta={"period": face.period, "frame": face.frame, **meta},
        )

    def _is_trained_on(self, episode: int) -> bool:
        return self.params.all_episodes or episode not in self.params.dev

    @property
    def _frames(self) -> Path:
        return self.params.frames or self.params.source

    @property
    def _episodes(self) -> list[int]:
        return list(self._files if self._index is None else self._index)

    @cached_property
    def _files(self) -> dict[int, Path]:
        return list_episodes(self.params.source)

    @cached_property
    def _index(self) -> dict[int, list[IndexedFace]] | None:
        return None if self.params.index is None else read_index(self.params.index)


def _frame(folder: Path, number: int) -> Path:
    path = folder / f"{max(0, number):05d}.jpg"
    if not path.is_file():
        do = f"write all frames of the episode: ffmpeg -i VIDEO -start_number 0 -qscale:v 2 {folder}/%05d.jpg"
        raise DataError("the frame is missing", str(path), do)
    return path
