"""Reads the faces of one AFEW clip from a video or from pictures: detects, crops and resizes them."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from blear.errors import DataError
from blear.imaging import Box, crop, read_picture
from blear.video import read_video
from blear_fer.datasets.afew_files import Clip, pictures_in
from blear_fer.datasets.params import AfewParams

_BATCH = 16


class FaceDetection(Protocol):
    """A detected face."""

    @property
    def box(self) -> Box:
        """Face box in pixels of the frame."""
        ...


class FaceDetector(Protocol):
    """Interface of the face detector that `AfewParams.locator` names."""

    def locate(self, frames_THWC: np.ndarray) -> Sequence[FaceDetection | None]:
        """Returns the largest face of each frame (uint8 RGB), or None for a frame without a face."""
        ...


@dataclass(frozen=True)
class FaceFrame:
    """One face of a clip.

    Attributes:
        face_HWC: resized face, uint8 RGB [H, W, 3].
        number: frame number in the clip, from 0.
        pixels: smaller side of the face box in pixels.
    """

    face_HWC: np.ndarray
    number: int
    pixels: float


def read_faces(clip: Clip, params: AfewParams) -> Iterator[FaceFrame]:
    """Yields the faces of a clip in frame order. Frames without a face are skipped.

    With `faces: locate`, the pictures of an extracted clip are its faces, and the aligned faces of the organisers are
    used if no face is detected in the whole clip.

    Raises:
        DataError: the video or a picture cannot be decoded, or the locator does not exist.
    """
    if params.faces == "aligned":
        yield from _picture_faces(pictures_in(clip.aligned) if clip.aligned is not None else [], params)
        return
    if params.faces == "given" or clip.extracted:
        if clip.path.is_file():
            what = "the clip is a video, not a folder of faces"
            raise DataError(what, str(clip.path), "set faces: locate, or give extracted faces")
        yield from _picture_faces(pictures_in(clip.path), params)
        return
    found = False
    for face in _detected_faces(clip, params):
        found = True
        yield face
    if not found and clip.aligned is not None:
        yield from _picture_faces(pictures_in(clip.aligned), params)


def _picture_faces(files: Sequence[Path], params: AfewParams) -> Iterator[FaceFrame]:
    for number, file in enumerate(files):
        face_HWC = read_picture(file)
        yield FaceFrame(_resized(face_HWC, params), number, float(min(face_HWC.shape[:2])))


def _detected_faces(clip: Clip, params: AfewParams) -> Iterator[FaceFrame]:
    locator, (height, width) = _locator(params.locator), params.size
    frames = _frames(clip.path)
    while block := list(islice(frames, _BATCH)):
        for (number, frame_HWC), face in zip(block, _locate(locator, [frame for _, frame in block]), strict=True):
            if face is not None:
                grown = with_aspect(face.box.grown(params.margin), height / width)
                yield FaceFrame(_resized(crop(frame_HWC, grown), params), number, min(face.box.width, face.box.height))


def _frames(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Yields number and pixels, uint8 RGB [H, W, 3], of a video's undamaged frames, or of a folder's pictures."""
    if path.is_file():
        return ((frame.number, frame.image_HWC) for frame in read_video(path, damaged="skip"))
    return enumerate(map(read_picture, pictures_in(path)))


def _locate(locator: FaceDetector, frames: Sequence[np.ndarray]) -> Sequence[FaceDetection | None]:
    if len({frame.shape for frame in frames}) == 1:
        return locator.locate(np.stack(frames))
    return [found for frame in frames for found in locator.locate(frame[None])]


@functools.lru_cache(maxsize=2)
def _locator(name: str) -> FaceDetector:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError) as error:
        do = "name an installed class as module:Class, or set faces to aligned or given"
        raise DataError(f"the locator {name!r} cannot be used: {error}", "fer/afew", do) from error


def with_aspect(box: Box, ratio: float) -> Box:
    """Returns the smallest box that contains `box`, has the same centre, and has height / width = `ratio`."""
    width = max(box.width, box.height / ratio)
    height = width * ratio
    return Box(box.left + (box.width - width) / 2, box.top + (box.height - height) / 2, width, height)


def _resized(face_HWC: np.ndarray, params: AfewParams) -> np.ndarray:
    height, width = params.size
    shrinks = face_HWC.shape[0] > height
    return cv2.resize(face_HWC, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
