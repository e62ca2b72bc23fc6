"""Picture and video files: endings, the walk through a folder, and reading one file as a clip."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from blear.clips import VIDEO_ENDINGS, fit_picture, read_video_clip, to_grey
from blear.contracts import ClipSpec
from blear.errors import DataError
from blear.folders import files_below, is_hidden
from blear.imaging import Box, crop, read_picture
from blear_own_data.split_params import ClipParams

PICTURES = (".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEOS = tuple(f".{ending}" for ending in VIDEO_ENDINGS)
_SYSTEM_FILES = {"desktop.ini", "thumbs.db", "__macosx"}


@dataclass(frozen=True)
class Files:
    """Files below a folder.

    Attributes:
        media: pictures and videos, relative to the folder with `/`, sorted.
        other: ending of each other file -> number of files; hidden and system files are not counted.
    """

    media: tuple[str, ...]
    other: Counter[str]


def find_files(folder: Path) -> Files:
    """Finds the pictures and videos below a folder at any depth, without hidden files and those of macOS and Windows.

    Raises:
        DataError: a folder or the target of a link cannot be read.
    """
    media, other = [], Counter[str]()
    for path in files_below(folder, _is_left_out):
        suffix = path.suffix.lower()
        if suffix in PICTURES or suffix in VIDEOS:
            media.append(path.relative_to(folder).as_posix())
        else:
            other[suffix or path.name] += 1
    return Files(tuple(sorted(media)), other)


def _is_left_out(name: str) -> bool:
    return is_hidden(name) or name.casefold() in _SYSTEM_FILES


def is_video(path: str) -> bool:
    """Whether a file name ends like a video."""
    return os.path.splitext(path)[1].lower() in VIDEOS  # noqa: PTH122  many paths: twenty times as fast as Path


def one_kind(paths: list[str] | tuple[str, ...], where: str) -> bool:
    """Whether the files are videos.

    Raises:
        DataError: some are videos and some are pictures.
    """
    videos = [path for path in paths if is_video(path)]
    if videos and len(videos) < len(paths):
        picture = next(path for path in paths if not is_video(path))
        what = f"{len(videos)} videos ({videos[0]}) among {len(paths) - len(videos)} pictures ({picture})"
        raise DataError(what, where, "give pictures and videos as two datasets")
    return bool(videos)


@dataclass(frozen=True)
class ClipReader:
    """Reads one file as a clip of the declared shape.

    Attributes:
        params: colour, fit and length.
        size: height and width in pixels.
        videos: whether the files are videos.
    """

    params: ClipParams
    size: tuple[int, int]
    videos: bool

    @property
    def clip(self) -> ClipSpec:
        """Shape of the clips."""
        return ClipSpec(self.params.length if self.videos else 1, self.params.channels, *self.size)

    def read(self, path: Path, where: str, box: Callable[[int, int], Box] | None = None) -> np.ndarray:
        """Reads frames uint8 [T, H, W, C].

        Args:
            path: of the picture or video.
            where: names the file or row in messages; empty: the path itself.
            box: called as `box(height, width)` of a picture in pixels, gives the part that is kept; None: all of it.

        Raises:
            DataError: the file is missing or damaged, or the box lies outside the picture.
        """
        frame = partial(self._fit, where=where, box=box)
        if not self.videos:
            return frame(read_picture(path, where, color=self.params.color))[None]
        convert = to_grey if self.params.color == "grey" else np.ascontiguousarray
        try:
            return read_video_clip(path, self.params.length, lambda image_HWC: frame(convert(image_HWC)))
        except DataError as error:
            if not where or where == error.where:
                raise
            raise DataError(f"the video {path}: {error.what}", where, error.do) from error

    def _fit(self, image: np.ndarray, where: str, box: Callable[[int, int], Box] | None) -> np.ndarray:
        if box is not None:
            try:
                image = crop(image, box(*image.shape[:2]))
            except ValueError as error:
                raise DataError(str(error), where, "fix the box; its unit is set by `box_unit`") from error
        return fit_picture(image, *self.size, self.params.fit)
