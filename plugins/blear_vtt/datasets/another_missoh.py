"""AnotherMissOh, the second TV series of the Video Turing Test: labelled faces as stills (spec section 2.4).

AnotherMissOh_Visual_full.json   {"AnotherMissOh17_013_0261": [{"frame_id": "..._IMAGE_0000021778",
                                 "persons": [{"person_id": "Jiya", "person_info": {"emotion": "Sadness",
                                 "face_rect": {"min_x": 427, ...}, ...}}]}]}
AnotherMissOh_images/AnotherMissOh17/013/0261/IMAGE_0000021778.jpg
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from blear.contracts import BuildContext, ClipSpec, Sample
from blear.errors import DataError
from blear.imaging import Box, read_picture
from blear_emotions.labels import VTT
from blear_emotions.published import compared_with_published
from blear_vtt.datasets.annotations import parse_box, parse_emotion, require_key, require_list, require_object
from blear_vtt.datasets.crops import crop_face
from blear_vtt.datasets.params import AnotherMissOhParams
from blear_vtt.datasets.targets import emotion_labels, emotion_targets, one_hot

EPISODES = 18
"""Number of episodes of the series."""

_ANNOTATIONS, _IMAGES = "AnotherMissOh_Visual_full.json", "AnotherMissOh_images"
_KEY = re.compile(r"([A-Za-z]*(\d+))_[A-Za-z0-9]+_[A-Za-z0-9]+")
_log = logging.getLogger(__name__)


class Shot(NamedTuple):
    """One shot: its key in the annotations, and the name and number of its episode."""

    key: str
    episode: str
    number: int


class AnotherMissOh:
    """Dataset with one still for each labelled face. A part is an episode, `subject` the character, `video` the shot.

    Faces without emotion or box are left out, counted by cause and logged as a warning.

    Raises:
        DataError: the annotations or an episode of `dev` are missing, or a picture is missing or damaged.
    """

    targets = emotion_targets(VTT.names)
    splits: Sequence[str] = ("train", "dev")
    terms = (
        "AnotherMissOh (tvN / Studio Dragon), annotated for DramaQA (Choi et al. 2021), dramaqa.snu.ac.kr: research "
        "only, by agreement; do not pass pictures on."
    )

    def __init__(self, params: AnotherMissOhParams, context: BuildContext) -> None:
        self.params = params
        self.clip = ClipSpec(1, 3, params.pixels, params.pixels)
        self.framing = params.framing

    def parts(self, split: str) -> list[str]:
        """Names of the episodes: `AnotherMissOh01`, ..."""
        if split not in self.splits:
            raise DataError(f"there is no split {split!r}", "vtt/another_missoh", "use one of: train, dev")
        numbers = {shot.number: shot.episode for shot in self._shots}
        missing = [n for n in self.params.dev if n not in numbers]
        if missing:
            do = f"set dev to some of {', '.join(map(str, sorted(numbers)))}"
            what = f"there are no annotations of episodes {', '.join(map(str, missing))}, which are dev"
            raise DataError(what, str(self._file), do)
        return [name for n, name in sorted(numbers.items()) if (n in self.params.dev) == (split == "dev")]

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the labelled faces of one episode, shot by shot."""
        if part not in self.parts(split):
            raise DataError(f"no part {part!r} in split {split!r}", "vtt/another_missoh", "take one of parts(split)")
        lost: Counter[str] = Counter()
        count = 0
        for shot in (shot for shot in self._shots if shot.episode == part):
            for number, person, info, where in self._faces(shot):
                emotion, box = parse_emotion(info, where), parse_box(info, where)
                if emotion is None or isinstance(box, str):
                    lost["emotion none" if emotion is None else str(box)] += 1
                    continue
                count += 1
                yield self._sample(shot, number, person, emotion, box, where)
        if lost:
            causes = ", ".join(f"{n} {cause}" for cause, n in sorted(lost.items()))
            total = count + lost.total()
            _log.warning("%s, %s: %d of %d faces left out: %s", self._file, part, lost.total(), total, causes)

    def describe(self) -> Mapping[str, str]:
        """Number of annotated episodes, and missing folders of pictures."""
        names = sorted({shot.episode for shot in self._shots})
        absent = [f"{_IMAGES}/{name}" for name in names if not (self.params.source / _IMAGES / name).is_dir()]
        return compared_with_published({"episodes": (len(names), EPISODES)}, missing=absent)

    def _faces(self, shot: Shot) -> Iterator[tuple[str, str, Any, str]]:
        """Yields picture number, character, `person_info` and place of every person of a shot."""
        for place, frame in enumerate(require_list(self._shots[shot], shot.key, str(self._file))):
            where = f"{self._file}, {shot.key}[{place}]"
            number = str(require_key(frame, "frame_id", where)).rpartition("_")[2]
            if not number.isdecimal():
                raise DataError(f"frame_id {frame['frame_id']!r} names no picture", where, "use the file as released")
            for n, person in enumerate(require_list(require_key(frame, "persons", where), "persons", where)):
                face = f"{where}, persons[{n}]"
                name = str(require_object(person, "a person", face).get("person_id", n))
                yield (
                    number,
                    f"{n}_{re.sub(r'[^A-Za-z0-9-]', '_', name)}",
                    require_key(person, "person_info", face),
                    face,
                )

    def _sample(self, shot: Shot, number: str, person: str, emotion: int, box: Box, where: str) -> Sample:
        picture = self.params.source.joinpath(_IMAGES, *shot.key.split("_"), f"IMAGE_{number}.jpg")
        return Sample(
            key=f"{shot.key}/{number}_{person}",
            frames=crop_face(read_picture(picture), box, self.params, "black", where)[None],
            targets=emotion_labels(one_hot(emotion, len(VTT)), VTT.names),
            subject=person.partition("_")[2],
            video=shot.key,
            meta={"frame": int(number), "face_px": float(min(box.width, box.height))},
        )

    @property
    def _file(self) -> Path:
        return self.params.source / _ANNOTATIONS

    @cached_property
    def _shots(self) -> dict[Shot, Any]:
        try:
            shots = json.loads(self._file.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            do = f"give the folder that holds {_ANNOTATIONS} and {_IMAGES}"
            raise DataError(f"cannot be read: {error}", str(self._file), do) from error
        found = require_object(shots, "the file", str(self._file))
        return {_shot(key, str(self._file)): found[key] for key in sorted(found)}


def _shot(key: str, where: str) -> Shot:
    match = _KEY.fullmatch(key)
    if match is None:
        do = "it must be <episode>_<annotation>_<index>, such as AnotherMissOh17_013_0261"
        raise DataError(f"{key!r} names no shot", where, do)
    return Shot(key, match[1], int(match[2]))
