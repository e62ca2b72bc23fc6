"""Reads `friends_parsed_new.npy`, the index of the face clips that VTT's authors cropped (spec section 2.3).

    {emotion 0..6: {number: {"img": [four paths], "emo": 0..6, "pos": ["ep01", period, character, key frame]}}}

A path is `ep01_p_img/<period %04d>_<character>_<emotion>_<frame %05d>.jpg`, relative to the folder of the frames. The
pictures have 224 x 224 pixels and a margin of 0.3; the four frames are -2, -1, 0 and 1 relative to the key frame.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from blear.errors import DataError
from blear_emotions.labels import VTT
from blear_emotions.listed_paths import listed_path
from blear_vtt.datasets.annotations import require_key, require_list, require_object
from blear_vtt.datasets.params import INDEXED_WINDOW
from blear_vtt.datasets.plain_npy import load_object

_EPISODE = re.compile(r"ep(\d+)")
_DO = "use friends_parsed_new.npy as VTT's parse_friends_new wrote it"


@dataclass(frozen=True)
class IndexedFace:
    """One labelled face with its crops from four frames.

    Attributes:
        emotion: class index in `labels.VTT`.
        frame: number of the key frame in the episode.
        pictures: paths of the crops relative to the folder of the frames, in the order of `INDEXED_WINDOW`.
        where: file, emotion and number, for messages.
    """

    episode: int
    period: int
    character: str
    frame: int
    emotion: int
    pictures: tuple[str, ...]
    where: str


def read_index(file: Path) -> dict[int, list[IndexedFace]]:
    """Reads the index. Returns episode number -> faces, sorted by period, character and frame.

    Raises:
        DataError: the file is missing, contains other objects than plain values, or does not have this form.
    """
    found: dict[int, list[IndexedFace]] = {}
    for emotion, entries in require_object(load_object(file), "the index", str(file)).items():
        if emotion not in range(len(VTT)):
            raise DataError(f"emotion {emotion!r} is not one of 0 to {len(VTT) - 1}", str(file), _DO)
        for number, entry in require_object(entries, f"emotion {emotion}", str(file)).items():
            face = _indexed_face(int(emotion), entry, f"{file}, emotion {emotion}, number {number}")
            found.setdefault(face.episode, []).append(face)
    if not found:
        raise DataError("names no face", str(file), _DO)
    return {
        episode: sorted(faces, key=lambda face: (face.period, face.character, face.frame))
        for episode, faces in sorted(found.items())
    }


def _indexed_face(emotion: int, entry: Any, where: str) -> IndexedFace:
    if require_key(entry, "emo", where) != emotion:
        raise DataError(f"emo {entry['emo']!r} is not the emotion it stands under", where, _DO)
    pictures, place = (require_list(require_key(entry, key, where), key, where) for key in ("img", "pos"))
    if len(pictures) != len(INDEXED_WINDOW) or len(place) != len(INDEXED_WINDOW):
        what = f"{len(pictures)} pictures and {len(place)} values of pos instead of {len(INDEXED_WINDOW)} each"
        raise DataError(what, where, _DO)
    episode, period, character, frame = place
    match = _EPISODE.fullmatch(str(episode))
    if match is None or not all(isinstance(number, int) and number >= 0 for number in (period, frame)):
        raise DataError(f"pos {place!r} is not episode, period, character, frame", where, _DO)
    paths = tuple(listed_path(str(picture), where) for picture in pictures)
    for path in paths:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise DataError(f"{path!r} is no path below the folder of the frames", where, _DO)
    return IndexedFace(int(match[1]), period, str(character), frame, emotion, paths, where)
