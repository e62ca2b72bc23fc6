"""Estimates how degraded a face is, from its pixels in the frame: size, blur, blocks of compression, noise."""

from __future__ import annotations

import cv2
import numpy as np

from blear.imaging import Box, crop

_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


def estimate_degradation(face_HWC: np.ndarray) -> dict[str, float]:
    """Estimates the degradation of a face.

    Args:
        face_HWC: RGB uint8 [H, W, 3], the face in the frame's own pixels.

    Returns:
        `blur`: share of the detail that a further blur leaves, in [0, 1]; 1 is a face without detail (Crete et al.
            2007).
        `blockiness`: steps across the borders of 8 x 8 blocks divided by those elsewhere, minus 1; 0 is none.
        `noise`: standard deviation of white noise in grey values of 0 to 255 (Immerkaer 1996).
    """
    grey_HW = cv2.cvtColor(face_HWC, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return {"blur": _blur(grey_HW), "blockiness": _blockiness(grey_HW), "noise": _noise(grey_HW)}


def estimate_face_degradation(image_HWC: np.ndarray, box: Box) -> dict[str, float]:
    """Estimates the degradation of a face in a frame; empty where its box lies outside the frame."""
    try:
        return estimate_degradation(np.ascontiguousarray(crop(image_HWC, box, pad="clip")))
    except ValueError:  # the box lies outside the frame, its framing does not
        return {}


def _blur(grey_HW: np.ndarray) -> float:
    shares = []
    for axis, size in ((0, (1, 9)), (1, (9, 1))):
        if grey_HW.shape[axis] < 2:
            return 1.0
        blurred_HW = cv2.blur(grey_HW, size)
        sharp, soft = (np.abs(np.diff(image, axis=axis)) for image in (grey_HW, blurred_HW))
        total = float(sharp.sum())
        shares.append(1.0 if total == 0 else 1 - float(np.maximum(0, sharp - soft).sum()) / total)
    return max(shares)


def _blockiness(grey_HW: np.ndarray) -> float:
    """The largest ratio over the eight positions that the grid of blocks can have in the crop, of both directions."""
    ratios = []
    for axis in (0, 1):
        steps = np.abs(np.diff(grey_HW, axis=axis)).mean(axis=1 - axis)
        if len(steps) < 16:
            continue
        means = np.array([steps[offset::8].mean() for offset in range(8)])
        largest = int(means.argmax())
        others = np.delete(means, largest).mean()
        ratios.append(float(means[largest] / others) - 1 if others > 0 else 0.0)
    return min(ratios, default=0.0)


def _noise(grey_HW: np.ndarray) -> float:
    height, width = grey_HW.shape
    if height < 3 or width < 3:
        return 0.0
    response_HW = cv2.filter2D(grey_HW, -1, _NOISE_KERNEL)[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) * np.abs(response_HW).mean() / 6)
