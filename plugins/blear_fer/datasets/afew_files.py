"""Finds the clips of AFEW (EmotiW audio-video, spec 2.3) in class folders of videos or pictures, or through lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from blear.errors import DataError
from blear.imaging import picture_files
from blear_emotions.labels import AFEW
from blear_emotions.listed_paths import listed_path
from blear_fer.datasets.params import Split

SPLITS: dict[Split, tuple[str, ...]] = {"train": ("Train_AFEW", "Train_AFEW_all", "Train"), "dev": ("Val_AFEW", "Val")}
"""Split name -> possible names of its folder. The first existing folder is used."""

UNLABELLED = ("Test_AFEW", "Test")
ALIGNED = "AlignedFaces_LBPTOP_Points*/Faces"
_NOT_CLASSES = re.compile(r"\.|AlignedFaces_|LBPTOP$|Points$|__MACOSX$")


@dataclass(frozen=True)
class Clip:
    """One clip of AFEW.

    Attributes:
        name: the clip's name, nine digits.
        emotion: class index in `labels.AFEW`.
        path: the clip's avi file, or its folder of pictures.
        aligned: folder of the organisers' aligned faces of this clip. It may be missing on disk. None if the split has
            no aligned faces.
    """

    name: str
    emotion: int
    path: Path
    aligned: Path | None


def find_clips(source: Path, lists: Mapping[Split, Path]) -> dict[str, list[Clip]]:
    """Finds the clips of each labelled split whose folder exists. Returns split -> clips, sorted by name.

    Raises:
        DataError: missing folder, unknown class folder, empty split, invalid list, or two clips of one name.
    """
    if not source.is_dir():
        raise DataError("no such folder", str(source), "set `source` to the folder that holds Train_AFEW and Val_AFEW")
    found: dict[str, list[Clip]] = {}
    for split, names in SPLITS.items():
        if split in lists:
            found[split] = _sorted_unique(_clips_in_list(lists[split], source), lists[split])
            continue
        folder = next((source / name for name in names if (source / name).is_dir()), None)
        if folder is not None:
            found[split] = _sorted_unique(_clips_in_folders(folder), folder)
    if "train" not in found:
        do = f"it must hold one of {', '.join(SPLITS['train'])}; for one folder of all clips give `lists`"
        raise DataError("there are no training clips", str(source), do)
    return found


def pictures_in(folder: Path) -> list[Path]:
    """Lists the pictures of a folder in natural order: 2.jpg before 10.jpg. Empty if the folder does not exist."""
    if not folder.is_dir():
        return []
    return sorted(
        picture_files(folder), key=lambda file: [int(part) if part.isdecimal() else part for part in _parts(file.stem)]
    )


def _parts(stem: str) -> list[str]:
    return re.split(r"(\d+)", stem)


def _clips_in_folders(folder: Path) -> Iterable[Clip]:
    aligned = next(iter(sorted(folder.glob(ALIGNED))), None)
    for place in sorted(entry for entry in folder.iterdir() if entry.is_dir() and not _NOT_CLASSES.match(entry.name)):
        emotion = _emotion(place.name, str(place))
        for entry in sorted(place.iterdir()):
            if not entry.name.startswith(".") and (entry.is_dir() or entry.suffix.lower() == ".avi"):
                yield Clip(entry.stem, emotion, entry, None if aligned is None else aligned / entry.stem)


def _clips_in_list(path: Path, source: Path) -> Iterable[Clip]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the list cannot be read ({error})", str(path), "check `lists`") from error
    for row, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{row}"
        folder, _, word = line.strip().rpartition(" ")
        if not folder:
            raise DataError(f"{line.strip()!r} is not a folder and an emotion", where, "write `<folder> <Emotion>`")
        place = source / listed_path(folder, where)
        if not place.exists():
            raise DataError(f"there is no {place}", where, "folders of a list are relative to `source`")
        yield Clip(place.stem, _emotion(word, where), place, None)


def _emotion(word: str, where: str) -> int:
    try:
        return AFEW.index_of_word(word)
    except ValueError as error:
        raise DataError(str(error), where, "use the seven class names of AFEW") from None


def _sorted_unique(clips: Iterable[Clip], where: Path) -> list[Clip]:
    by_name: dict[str, Clip] = {}
    for clip in clips:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", clip.name):
            do = "AFEW's clips are called by nine digits; rename it"
            raise DataError(f"the clip's name {clip.name!r} has other characters", str(clip.path), do)
        if (twin := by_name.setdefault(clip.name, clip)) is not clip:
            raise DataError(f"a clip of this name is there twice: {twin.path}", str(clip.path), "remove one of them")
    if not by_name:
        raise DataError("there is no clip", str(where), "it must hold <Emotion>/<id>.avi, or <Emotion>/<id>/*.jpg")
    return [by_name[name] for name in sorted(by_name)]
