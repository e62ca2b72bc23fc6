"""Boxes of faces, how a dataset frames them, and crops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

_MAX_PIXELS = 1 << 28
"""Largest crop with padding: a box with wrong coordinates would need terabytes."""


@dataclass(frozen=True)
class Box:
    """A face box in pixels. `left` and `top` count from 0; all four numbers may be fractional."""

    left: float
    top: float
    width: float
    height: float

    def grown(self, margin: float) -> Box:
        """Returns the box enlarged on each side by `margin` times its width (left, right) or height (top, bottom)."""
        return Box(
            self.left - margin * self.width,
            self.top - margin * self.height,
            self.width * (1 + 2 * margin),
            self.height * (1 + 2 * margin),
        )

    def squared(self) -> Box:
        """Returns the smallest square that contains the box and has the same centre."""
        side = max(self.width, self.height)
        return Box(self.left + (self.width - side) / 2, self.top + (self.height - side) / 2, side, side)


def centred_square(box: Box, side: float, scale: float = 1.0) -> Box:
    """Returns a square of whole pixels about the centre of a box.

    `side` is rounded down, to at least 1 pixel, then multiplied by `scale` and rounded. The centre is rounded down; of
    an odd side, the left and the upper half are one pixel smaller than the others.
    """
    pixels = round(max(1, int(side)) * scale)
    x, y = math.floor(box.left + box.width / 2), math.floor(box.top + box.height / 2)
    return Box(x - pixels // 2, y - pixels // 2, pixels, pixels)


def face_square(box: Box, margin: float, scale: float = 1.0) -> Box:
    """Returns the `centred_square` of side sqrt((w + m)(h + m)) with m = margin (w + h), for a face box of w x h.

    A square box with margin 0.5 doubles its side.
    """
    m = margin * (box.width + box.height)
    return centred_square(box, math.sqrt((box.width + m) * (box.height + m)), scale)


def crop(
    image: np.ndarray,
    box: Box,
    *,
    margin: float = 0.0,
    square: bool = False,
    pad: Literal["black", "mean", "clip"] = "black",
) -> np.ndarray:
    """Cuts a box out of an image.

    Args:
        image: [H, W] or [H, W, C].
        box: the box in pixels of the image; may lie partly outside.
        margin: share of the box's sides that is added on each side (`Box.grown`).
        square: whether the box, with its margin, is made square (`Box.squared`).
        pad: values outside the image: "black" (0) or the image's "mean" colour; "clip" cuts at the border instead.

    Returns:
        The rows ceil(top) to ceil(top + height - 1) and the columns ceil(left) to ceil(left + width - 1), of the
        image's dtype.

    Raises:
        ValueError: the box lies wholly outside the image, has no area, is not finite or, unless `pad` is "clip", has
            more than 2^28 pixels; an unknown `pad`.
    """
    if pad not in ("black", "mean", "clip"):
        raise ValueError(f"pad must be black, mean or clip, not {pad!r}")
    if not all(map(math.isfinite, (box.left, box.top, box.width, box.height))):
        raise ValueError(f"{box} is not finite")
    if box.width <= 0 or box.height <= 0:
        raise ValueError(f"{box} has no area")
    box = box.grown(margin) if margin else box
    box = box.squared() if square else box
    top, left = math.ceil(box.top), math.ceil(box.left)
    bottom, right = math.ceil(box.top + box.height - 1) + 1, math.ceil(box.left + box.width - 1) + 1
    height, width = image.shape[:2]
    inside = (slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width)))
    if inside[0].start >= inside[0].stop or inside[1].start >= inside[1].stop:
        raise ValueError(f"box {box} does not overlap the image of {width}x{height} pixels")
    if pad == "clip":
        return image[inside]
    if (bottom - top) * (right - left) > _MAX_PIXELS:
        raise ValueError(f"{box} has more than {_MAX_PIXELS:,} pixels; the image has {width}x{height}")
    fill = np.zeros(image.shape[2:]) if pad == "black" else image.mean(axis=(0, 1))
    canvas = np.empty((bottom - top, right - left, *image.shape[2:]), dtype=image.dtype)
    canvas[...] = np.rint(fill) if np.issubdtype(image.dtype, np.integer) else fill
    rows = slice(inside[0].start - top, inside[0].stop - top)
    columns = slice(inside[1].start - left, inside[1].stop - left)
    canvas[rows, columns] = image[inside]
    return canvas


@dataclass(frozen=True)
class Framing:
    """How faces were cut out of their pictures, so that prediction cuts them alike.

    Attributes:
        shape: "square": a `face_square` about the centre of the face's box; "box": the box with a margin, whatever its
            shape; "landmarks": a similarity transform of five landmarks onto `points`.
        margin: margin of the box. In `unit` "sum", the side of the square is sqrt((w + m)(h + m)) with
            m = margin * (w + h) for a box of w x h; in "sides", a share of width and height on each side; in "pixels",
            pixels on each side.
        unit: see `margin`. A square has "sum".
        crop_scale: factor of the side of a square.
        aspect: height divided by width to which a box with its margin is extended; None: it keeps its shape.
        inside: whether a box is cut off at the border of the picture; otherwise pixels outside are black.
        points: positions (x, y) of left eye, right eye, nose tip, left and right mouth corner (left and right as in the
            image), in shares of the side of the cut face.
        size: side of a face that is aligned by landmarks, in pixels.
    """

    shape: Literal["square", "box", "landmarks"] = "square"
    margin: float = 0.5
    unit: Literal["sum", "sides", "pixels"] = "sum"
    crop_scale: float = 1.0
    aspect: float | None = None
    inside: bool = False
    points: tuple[tuple[float, float], ...] = ()
    size: int = 0

    def cut(self, image_HWC: np.ndarray, box: Box, points_52: np.ndarray | None = None) -> np.ndarray:
        """Cuts a face out of a picture, at the picture's resolution except by landmarks.

        Args:
            image_HWC: [H, W, C].
            box: box of the face in pixels of the picture.
            points_52: landmarks of the face as (x, y) pixels of the picture, in the order of `points`.

        Raises:
            ValueError: the face lies outside the picture, or landmarks are needed and not given.
        """
        if self.shape == "landmarks":
            if points_52 is None:
                raise ValueError("the model needs faces aligned by five landmarks, and these faces have none")
            target_52 = np.array(self.points) * self.size - 0.5
            return align(image_HWC, np.asarray(points_52, np.float64), target_52, self.size)
        if self.shape == "square":
            return crop(image_HWC, face_square(box, self.margin, self.crop_scale))
        if self.unit == "pixels":
            pixels = self.margin
            box = Box(box.left - pixels, box.top - pixels, box.width + 2 * pixels, box.height + 2 * pixels)
        else:
            box = box.grown(self.margin)
        if self.aspect is not None:
            width = max(box.width, box.height / self.aspect)
            height = width * self.aspect
            box = Box(box.left + (box.width - width) / 2, box.top + (box.height - height) / 2, width, height)
        return crop(image_HWC, box, pad="clip" if self.inside else "black")


def similarity(source_P2: np.ndarray, target_P2: np.ndarray) -> np.ndarray:
    """Fits the similarity transform (rotation, scale, translation; no reflection) from source to target points.

    The closed form of Umeyama 1991 (Least-squares estimation of transformation parameters between two point patterns).

    Returns:
        The least-squares transform as an affine matrix, float64 [2, 3].

    Raises:
        ValueError: all source points coincide, or a point is not finite.
    """
    if not np.isfinite(source_P2).all():
        raise ValueError("the points are not finite")
    source_mean, target_mean = source_P2.mean(axis=0), target_P2.mean(axis=0)
    source, target = source_P2 - source_mean, target_P2 - target_mean
    spread = float((source**2).sum())
    if spread == 0:
        raise ValueError("the points coincide")
    left, values, right = np.linalg.svd(target.T @ source)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    matrix = (left * signs) @ right * ((values * signs).sum() / spread)
    return np.column_stack([matrix, target_mean - matrix @ source_mean])


def align(image_HWC: np.ndarray, points_P2: np.ndarray, target_P2: np.ndarray, size: int) -> np.ndarray:
    """Warps a face so that its landmarks come to lie on target points. Returns uint8 [size, size, 3].

    Args:
        image_HWC: uint8 [H, W, 3].
        points_P2: landmarks, (x, y) in pixels of the image.
        target_P2: their positions in the result, in pixels. Pixels outside the image are black.

    Raises:
        ValueError: as `similarity`.
    """
    import cv2  # here, so that plugins are found without loading it

    matrix = similarity(points_P2, target_P2)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 1:  # antialiasing: bilinear sampling alone would skip pixels of large images
        height, width = image_HWC.shape[:2]
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        image_HWC = cv2.resize(image_HWC, shape, interpolation=cv2.INTER_AREA)
        points_P2 = (points_P2 + 0.5) * (shape[0] / width, shape[1] / height) - 0.5
        matrix = similarity(points_P2, target_P2)
    return np.asarray(cv2.warpAffine(image_HWC, matrix, (size, size), flags=cv2.INTER_LINEAR))
