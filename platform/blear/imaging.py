"""Public image helpers that several plugins share: luma, MATLAB-compatible bicubic resize, face crops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np


def studio_luma(rgb_HWC: np.ndarray) -> np.ndarray:
    """BT.601 studio-range luma of a uint8 RGB image, uint8 [H, W] in 16..235 (MATLAB `rgb2ycbcr`)."""
    weights = np.array([65.481, 128.553, 24.966], dtype=np.float64) / 255.0
    return np.floor(16.0 + rgb_HWC.astype(np.float64) @ weights + 0.5).astype(np.uint8)


def resize_bicubic(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Antialiased bicubic resize (a = -0.5) of a float image [H, W] or [H, W, C], unclipped float32.

    Equal to MATLAB's `imresize` but for the borders, whose weights are renormalised instead of mirrored.
    """
    import torch
    from torch.nn.functional import interpolate

    image_HWC = image if image.ndim == 3 else image[..., None]
    frames = torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1), dtype=np.float32))[None]
    out = interpolate(frames, size=(height, width), mode="bicubic", antialias=True, align_corners=False)[0]
    return out.numpy().transpose(1, 2, 0) if image.ndim == 3 else out[0].numpy()


@dataclass(frozen=True)
class Box:
    """A face box in pixels; `left` and `top` are 0-based and may be fractional."""

    left: float
    top: float
    width: float
    height: float

    def grown(self, margin: float) -> Box:
        """The box with `margin` x its width (height) added on each side."""
        return Box(
            self.left - margin * self.width,
            self.top - margin * self.height,
            self.width * (1 + 2 * margin),
            self.height * (1 + 2 * margin),
        )

    def squared(self) -> Box:
        """The smallest square around the box with the same centre."""
        side = max(self.width, self.height)
        return Box(self.left + (self.width - side) / 2, self.top + (self.height - side) / 2, side, side)


def face_square(box: Box, margin: float, room: float = 1.0, *, legacy: bool = False) -> Box:
    """The square of `room` times the side sqrt((w + m)(h + m)), m = margin (w + h), about a face's centre (VTT, 5.1).

    Whole pixels, rounded down; of an odd side the left and upper half is the smaller one.

    Args:
        legacy: side w + m, as the published stage 1 has it: the height is missing in its formula.
    """
    m = margin * (box.width + box.height)
    side = box.width + m if legacy else math.sqrt((box.width + m) * (box.height + m))
    side = round(max(1, int(side)) * room)
    x, y = math.floor(box.left + box.width / 2), math.floor(box.top + box.height / 2)
    return Box(x - side // 2, y - side // 2, side, side)


def crop(
    image: np.ndarray,
    box: Box,
    *,
    margin: float = 0.0,
    square: bool = False,
    pad: Literal["black", "mean", "clip"] = "black",
) -> np.ndarray:
    """Cuts a face: box, margin, square, pad mode (specs index, shared piece 5).

    Args:
        image: [H, W] or [H, W, C].
        box: where the face is; `margin` is a share of its sides, added before it is made square.
        pad: what lies outside the image: "black", the image's "mean" colour, or nothing: "clip" cuts at the border.

    Returns:
        The crop, rows ceil(top) to ceil(top + height - 1), columns alike.

    Raises:
        ValueError: the box lies wholly outside the image, has no area or is not finite; an unknown `pad`.
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
    fill = np.zeros(image.shape[2:]) if pad == "black" else image.mean(axis=(0, 1))
    canvas = np.empty((bottom - top, right - left, *image.shape[2:]), dtype=image.dtype)
    canvas[...] = np.rint(fill) if np.issubdtype(image.dtype, np.integer) else fill
    rows = slice(inside[0].start - top, inside[0].stop - top)
    columns = slice(inside[1].start - left, inside[1].stop - left)
    canvas[rows, columns] = image[inside]
    return canvas
