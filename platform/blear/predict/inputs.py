"""Finds the inputs that a person names: files, folders, patterns, clips of cut faces in folders, streams."""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from blear.errors import DataError, RunError
from blear.folders import files_below, folders_below
from blear.imaging import PICTURE_SUFFIXES, picture_files
from blear.models.card import CARD_FILE
from blear.models.shipped import default_model, shipped_models
from blear.progress import echo
from blear.storage.remote import is_url
from blear.video.stream import is_stream, without_secrets
from blear.video.webp import is_animated_webp

_VIDEOS = (
    "3g2 3gp asf avi dv f4v flv gif h264 hevc m1v m2ts m2v m4v mkv mov mp4 mpeg mpg mts mxf nut ogv"
    " rm rmvb ts vob webm wmv y4m"
)
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _VIDEOS.split())
"""Suffixes of the videos that are searched for in folders. A named file may have any suffix."""

PICTURES = (*PICTURE_SUFFIXES, ".webp")
"""Suffixes of pictures; an animated WebP file is a video."""


@dataclass(frozen=True)
class Input:
    """A video, a picture, a folder with the pictures of a clip, or a stream (camera, address, pipe).

    Attributes:
        address: of a stream; see `is_stream`.
        given: the name in outputs, where it is not `path`: the URL of a file in object storage, or a relative path.

    `name` is printable: bytes of a path that are no UTF-8 are escaped in it.
    """

    path: Path
    is_picture: bool
    is_folder: bool = False
    address: str | None = None
    given: str | None = None

    @property
    def name(self) -> str:
        """The path or URL as given, or the address without user name and password."""
        if self.given is not None:
            return self.given
        return printable(str(self.path)) if self.address is None else without_secrets(self.address)


def printable(text: str) -> str:
    """A text in which bytes of file names that are no UTF-8 are escaped, because no output can hold them."""
    return text.encode("utf-8", "backslashreplace").decode()


def accepted_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder that is a clip, sorted by name."""
    return [file for file in picture_files(folder, PICTURES) if is_picture(file)]


def split_model(arguments: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Divides the arguments of `blear predict` into the model and the inputs.

    The first argument is an input if it is a stream, a name or pattern of videos or pictures, or a folder without the
    files of a model or a run. No model is named then: see `default_model`.

    Raises:
        RunError: no model is named, and none or several are installed; or no input is given.
    """
    if _is_input(arguments[0]):
        model = default_model().name
        echo(f"no model is named: {model} is used")
        return model, arguments
    if len(arguments) == 1:
        raise RunError("no input is given", arguments[0], "give videos or pictures after the model")
    return arguments[0], arguments[1:]


def _is_input(text: str) -> bool:
    path = Path(text)
    if path.is_dir():
        shipped = any(text in (model.name, model.short_name) for model in shipped_models())
        return not shipped and not any((path / file).is_file() for file in (CARD_FILE, "job.yaml", "stage.json"))
    return is_stream(text) or is_url(text) or _is_pattern(text) or is_media(Path(path.name))


def _is_pattern(text: str) -> bool:
    """Whether a text is a pattern of files, and no file."""
    return not Path(text).exists() and any(sign in text for sign in "*?[")


def find_inputs(given: Sequence[str]) -> list[Input]:
    """Lists the files that are meant, in the order given; those of a folder are sorted. None appears twice.

    Raises:
        DataError: a folder, a URL or a pattern has no video or picture, or a folder cannot be read.
    """
    found: dict[Path | str, Input] = {}
    for text in given:
        if is_stream(text):
            found.setdefault(text, _stream_input(text, {one.name for one in found.values()}))
            continue
        if is_url(text):
            from blear.predict.remote_inputs import find_remote

            found |= {one.name: one for one in find_remote(text) if one.name not in found}
            continue
        path = Path(text)
        if path.is_dir():
            paths = sorted(file for file in files_below(path) if is_media(Path(file.name)))
        elif _is_pattern(text):
            paths = sorted(Path(match) for match in glob.glob(text, recursive=True) if Path(match).is_file())  # noqa: PTH207
        else:
            paths = [path]
        if not paths:
            raise DataError("has no video and no picture", text, "check the path")
        for file in paths:
            found.setdefault(file.absolute(), Input(file, is_picture(file)))
    return list(found.values())


def _stream_input(address: str, names: Collection[str]) -> Input:
    """A stream; its name is none of `names`: addresses may differ only in their secrets."""
    shown = without_secrets(address)
    path = Path("stdin" if address == "-" else shown)
    free = next(name for name in (shown, *(f"{shown} ({n})" for n in range(2, len(names) + 3))) if name not in names)
    return Input(path, is_picture=False, address=address, given=None if free == shown else free)


def find_clips(given: Sequence[str]) -> list[Input]:
    """Lists the clips below folders: each folder without subfolders is a clip, its pictures are the frames.

    Raises:
        DataError: something else than a folder is given, or a folder cannot be read.
    """
    found: dict[Path, Input] = {}
    for text in given:
        if not Path(text).is_dir():
            raise DataError("is no folder of clips", text, "give the folders of the cut faces")
        folders = [Path(text), *sorted(folders_below(Path(text)))]
        parents = {folder.parent for folder in folders[1:]}
        for folder in folders:
            if folder not in parents:
                found.setdefault(folder.absolute(), Input(folder, is_picture=False, is_folder=True))
    return list(found.values())


def is_video_file(source: Input) -> bool:
    """Whether an input is a video in a file of this machine: no stream, no URL, no picture and no folder."""
    return not (source.address or source.is_picture or source.is_folder or is_url(source.name))


def is_media(file: Path) -> bool:
    """Whether the suffix is that of a video or a picture, and no part of the path is hidden."""
    hidden = any(part.startswith(".") for part in file.parts)
    return not hidden and file.suffix.lower() in {*VIDEO_SUFFIXES, *PICTURES}


def is_picture(file: Path) -> bool:
    """Whether a file is a picture by its suffix; an animated WebP file is a video."""
    suffix = file.suffix.lower()
    return (suffix == ".webp" and not is_animated_webp(file)) or (suffix in PICTURE_SUFFIXES and suffix != ".webp")
