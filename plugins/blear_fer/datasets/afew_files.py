"""Finds the clips of AFEW (EmotiW audio-video) in class folders of videos or pictures, or through lists.

Layouts, `<Train>` being one of `SPLITS`:
- `<Train>/<Emotion>/<id>.avi`, the organisers' videos, or other endings of `VIDEO_ENDINGS`;
- `<Train>/<Emotion>/<id>/*.jpg`, the frames of a video;
- `<Train>/Emotiw-faces/<Emotion>/<id>/images0001.jpg`, the extracted faces of the FER-VGG-GRU system;
- `Emotiw-faces/<Emotion>/<id>/images0001.jpg`, the same without `<Train>`: all clips are training clips, unless the
  system's lists `Emotiw_TRAIN.txt` and `Emotiw_VAL.txt` are there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from blear.clips import VIDEO_ENDINGS
from blear.errors import DataError
from blear.imaging import picture_files
from blear_emotions.labels import AFEW
from blear_emotions.listed_paths import listed_path
from blear_fer.datasets.params import Split

SPLITS: dict[Split, tuple[str, ...]] = {"train": ("Train_AFEW", "Train_AFEW_all", "Train"), "dev": ("Val_AFEW", "Val")}
"""Split name -> possible names of its folder. The first existing folder is used."""

EXTRACTED = "Emotiw-faces"
"""Folder of extracted faces: its pictures are faces, not video frames."""

LISTS: dict[Split, str] = {"train": "Emotiw_TRAIN.txt", "dev": "Emotiw_VAL.txt"}
"""Lists of the FER-VGG-GRU system. They are read if they lie in `source` or in its folder TrainTestlist/Emotiw."""

UNLABELLED = ("Test_AFEW", "Test")
ALIGNED = "AlignedFaces_LBPTOP_Points*/Faces"
_NOT_CLASSES = re.compile(r"\.|AlignedFaces_|LBPTOP$|Points$|__MACOSX$|Emotiw-faces$|TrainTestlist$")


@dataclass(frozen=True)
class Clip:
    """One clip of AFEW.

    Attributes:
        name: the clip's name, nine digits.
        emotion: class index in `labels.AFEW`.
        path: the clip's video, or its folder of pictures.
        aligned: folder of the organisers' aligned faces of this clip. It may be missing on disk. None if the split has
            no aligned faces.
        extracted: whether `path` is a folder of faces.
    """

    name: str
    emotion: int
    path: Path
    aligned: Path | None
    extracted: bool = False


def find_clips(source: Path, lists: Mapping[Split, Path], prefer_extracted: bool = False) -> dict[Split, list[Clip]]:
    """Finds the clips of each labelled split whose folder or list exists. Returns split -> clips, sorted by name.

    Args:
        source: folder of the data.
        lists: split -> list of its clips. The system's own lists are found without it.
        prefer_extracted: whether to prefer `Emotiw-faces` to the videos if a split has both.

    Raises:
        DataError: missing folder, unknown class folder, empty split, invalid list, or two clips of one name.
    """
    if not source.is_dir():
        raise DataError("no such folder", str(source), "set `source` to the folder that holds Train_AFEW and Val_AFEW")
    lists = {**_lists_in(source), **lists}
    found: dict[Split, list[Clip]] = {}
    for split, names in SPLITS.items():
        if split in lists:
            found[split] = _sorted_unique(_clips_in_list(lists[split], source), lists[split])
        elif (folder := _split_folder(source, names, prefer_extracted)) is not None:
            found[split] = _sorted_unique(_clips_in_folders(folder), folder)
    if not found and (folder := next(_class_roots(source), None)) is not None:
        found["train"] = _sorted_unique(_clips_in_folders(folder), folder)
    if "train" not in found:
        do = (
            f"it must hold one of {', '.join(SPLITS['train'])} or {EXTRACTED}; for one folder of all clips give `lists`"
        )
        raise DataError("there are no training clips", str(source), do)
    return found


def _lists_in(source: Path) -> dict[Split, Path]:
    folders = (source, source / "TrainTestlist" / "Emotiw")
    places = {split: [folder / name for folder in folders] for split, name in LISTS.items()}
    return {split: file for split, files in places.items() for file in files if file.is_file()}


def _class_roots(source: Path) -> Iterator[Path]:
    """The folders with class folders among `source` and its `Emotiw-faces`."""
    return (folder for folder in (source / EXTRACTED, source) if _has_classes(folder))


def _has_classes(folder: Path) -> bool:
    known = {name.lower() for name in AFEW.names}
    return folder.is_dir() and any(place.name.lower() in known and place.is_dir() for place in folder.iterdir())


def _split_folder(source: Path, names: Iterable[str], prefer_extracted: bool) -> Path | None:
    """The folder that holds the class folders of a split."""
    folders = [root / name for root in (source, source / EXTRACTED) for name in names if (root / name).is_dir()]
    videos = [folder for folder in folders if _has_classes(folder)]
    extracted = [folder / EXTRACTED for folder in folders if (folder / EXTRACTED).is_dir()]
    ordered = [*extracted, *videos] if prefer_extracted else [*videos, *extracted]
    return next(iter([*ordered, *folders]), None)


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
            if not entry.name.startswith(".") and (entry.is_dir() or _is_video(entry)):
                own = None if aligned is None else aligned / entry.stem
                yield Clip(entry.stem, emotion, entry, own, entry.is_dir() and EXTRACTED in entry.parts)


def _is_video(file: Path) -> bool:
    return file.suffix.lower().removeprefix(".") in VIDEO_ENDINGS


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
        place = _listed(listed_path(folder, where), source, where)
        extracted = place.is_dir() and (path.name in LISTS.values() or EXTRACTED in place.parts)
        yield Clip(place.stem, _emotion(word, where), place, None, extracted)


def _listed(name: str, source: Path, where: str) -> Path:
    """The file or folder of a row: the path itself, or its longest end of two or more names below `source`.

    The system's lists have absolute paths of its authors' machine, such as `/.../Val_AFEW/Emotiw-faces/Sad/010203040`.
    """
    names = PurePosixPath(name).parts
    ends = [names[first:] for first in range(1, len(names) - 1)]
    place = next((place for place in (source / name, *(source.joinpath(*end) for end in ends)) if place.exists()), None)
    if place is None:
        do = f"paths of a list are relative to `source`, or end like a path below it: <Emotion>/<id> in {source}"
        raise DataError(f"there is no {source / name}", where, do)
    return place


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
