"""Frames with known faces: real faces of BLEAR_DATA, pasted at a given size into frames without a face."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from blear.contracts import BuildContext
from blear.imaging import Box, crop
from blear.plugin.discovery import load_plugins
from blear.video import read_video

DATA = Path(os.environ.get("BLEAR_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
CANVAS = (640, 360)
_CONTEXT = 2.0  # side of a pasted patch in sides of the face
_AGREE = 0.6


@dataclass(frozen=True)
class FacePatch:
    """A square picture about a face of `side` pixels (the smaller side of its box), and the box in it."""

    image_HWC: np.ndarray
    box: Box


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    common = max(0.0, width) * max(0.0, height)
    return common / (a.width * a.height + b.width * b.height - common)


def face_patches() -> list[FacePatch]:
    """The faces of the photographs and of two frames of each video, on whose places all detectors agree.

    The box is the mean of the detectors' boxes, so that none of them is favoured.
    """
    catalog, patches = load_plugins(), []
    names = ("retinaface", "centerface", "mtcnn")
    locators = [catalog.get("locator", name).build({"device": "cpu", "min_face": 40}, BuildContext()) for name in names]
    for image_HWC in _pictures():
        first, *others = ([face.box for face in locator.faces(image_HWC[None])[0]] for locator in locators)
        for box in first:
            same = [max(boxes, key=lambda other: overlap(box, other), default=None) for boxes in others]
            if min(box.width, box.height) < 60 or any(o is None or overlap(box, o) < _AGREE for o in same):
                continue
            mean = Box(*np.mean([[b.left, b.top, b.width, b.height] for b in (box, *same)], axis=0).tolist())
            patches.append(_patch(image_HWC, mean))
    return patches


def _pictures() -> list[np.ndarray]:
    pictures = [_read(DATA / "photos" / f"{name}.jpg") for name in ("multi_face", "multi_face_2", "single_face")]
    for video in sorted((DATA / "video").rglob("*.m*")):
        if video.suffix in (".mp4", ".mpg", ".mov") and video.stem != "no_face":
            pictures += [frame.image_HWC for frame in islice(read_video(video, 30), 2)]
    return pictures


def _read(file: Path) -> np.ndarray:
    return np.array(Image.open(file).convert("RGB"))


def _patch(image_HWC: np.ndarray, box: Box) -> FacePatch:
    side = _CONTEXT * max(box.width, box.height)
    left, top = round(box.left + box.width / 2 - side / 2), round(box.top + box.height / 2 - side / 2)
    square = crop(image_HWC, Box(left, top, round(side), round(side)), pad="mean")
    return FacePatch(square, Box(box.left - left, box.top - top, box.width, box.height))


def backgrounds(count: int, size: tuple[int, int] = CANVAS) -> list[np.ndarray]:
    """Frames without a face, width x height: of a video, and a drawing."""
    video = DATA / "video" / "misc" / "no_face.mp4"
    found = [frame.image_HWC for frame in islice(read_video(video, 12), count - 1)]
    found.append(_read(DATA / "photos" / "no_face.jpg"))
    return [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in found]


def composites(
    patches: list[FacePatch], side: float, turn: float = 0.0, size: tuple[int, int] = CANVAS
) -> list[tuple[np.ndarray, list[Box]]]:
    """Frames into which all faces are pasted, with the faces' boxes.

    Args:
        side: the smaller side of a face's box in pixels.
        turn: rotation of the faces in degrees.
    """
    cell = int(max(side * _CONTEXT * 1.6, 60))
    columns, rows = max(1, size[0] // cell), max(1, size[1] // cell)
    grounds, frames = backgrounds(4, size), []
    for first in range(0, len(patches), columns * rows):
        image = grounds[len(frames) % len(grounds)].copy()
        boxes = []
        for place, patch in enumerate(patches[first : first + columns * rows]):
            left, top = place % columns * cell, place // columns * cell
            boxes.append(_paste(image, patch, side, turn, left, top))
        frames.append((image, boxes))
    return frames


def _paste(image: np.ndarray, patch: FacePatch, side: float, turn: float, left: int, top: int) -> Box:
    ratio = side / min(patch.box.width, patch.box.height)
    length = max(4, round(len(patch.image_HWC) * ratio))
    small = cv2.resize(
        patch.image_HWC, (length, length), interpolation=cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
    )
    y, x = np.mgrid[:length, :length] / (length - 1) * 2 - 1
    weight = np.clip((1.05 - np.hypot(x, y)) / 0.15, 0, 1)[..., None]  # a disc with a soft edge
    if turn:
        matrix = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), turn, 1)
        small = cv2.warpAffine(small, matrix, (length, length), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    length = min(length, image.shape[0] - top, image.shape[1] - left)
    place, small, weight = (
        image[top : top + length, left : left + length],
        small[:length, :length],
        weight[:length, :length],
    )
    place[:] = np.rint(weight * small + (1 - weight) * place)
    real = length / len(patch.image_HWC)
    return Box(
        left + patch.box.left * real, top + patch.box.top * real, patch.box.width * real, patch.box.height * real
    )


def jpeg(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    """Compresses a frame as JPEG."""

    def apply(image_HWC: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        Image.fromarray(image_HWC).save(buffer, "JPEG", quality=quality)
        return _read_bytes(buffer)

    return apply


def _read_bytes(buffer: io.BytesIO) -> np.ndarray:
    return np.array(Image.open(buffer).convert("RGB"))


def blur(sigma: float) -> Callable[[np.ndarray], np.ndarray]:
    """Blurs a frame; sigma in pixels."""
    return lambda image_HWC: cv2.GaussianBlur(image_HWC, (0, 0), sigma)


def noise(deviation: float) -> Callable[[np.ndarray], np.ndarray]:
    """Adds Gaussian noise; deviation in grey values."""

    def apply(image_HWC: np.ndarray) -> np.ndarray:
        drawn = np.random.default_rng(0).normal(0, deviation, image_HWC.shape)
        return np.clip(np.rint(image_HWC + drawn), 0, 255).astype(np.uint8)

    return apply
