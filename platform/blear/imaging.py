"""Public image functions that several plugins share: luma, bicubic resize as in MATLAB, face boxes and crops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np


def studio_luma(rgb_HWC: np.ndarray) -> np.ndarray:
    """Converts a uint8 RGB image [H, W, 3] to BT.601 studio-range luma, uint8 [H, W] in 16..235.

    Equal to the first channel of MATLAB's `rgb2ycbcr`.
    """
    weights = np.array([65.481, 128.553, 24.966], dtype=np.float64) / 255.0
    return np.floor(16.0 + rgb_HWC.astype(np.float64) @ weights + 0.5).astype(np.uint8)


def resize_bicubic(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a float image [H, W] or [H, W, C] with antialiased bicubic interpolation (a = -0.5).

    Equal to MATLAB's `imresize` except at the borders, where weights are renormalised instead of mirrored.

    Returns:
        float32 [height, width] or [height, width, C]; values are not clipped to the input's range.
    """
    import torch
    from torch.nn.functional import interpolate

    image_HWC = image if image.ndim == 3 else image[..., None]
    frames = torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1), dtype=np.float32))[None]
    out = interpolate(frames, size=(height, width), mode="bicubic", antialias=True, align_corners=False)[0]
    return out.numpy().transpose(1, 2, 0) if image.ndim == 3 else out[0].numpy()


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
