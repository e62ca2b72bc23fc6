"""Describes how a person looks in a frame, by the colours of face, hair and clothes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from blear.imaging import Box

_BINS = 16
_SIDE = 16
_REGIONS = (  # left, top, right, bottom in sides of the face's box, and weight
    (0.1, 0.1, 0.9, 0.55, 1.0),  # forehead and eyes
    (0.15, 0.55, 0.85, 1.0, 1.0),  # mouth and cheeks
    (0.1, -0.3, 0.9, 0.1, 1.5),  # hair
    (-0.3, 1.3, 1.3, 2.3, 2.0),  # clothes
)
_LEAST_PX = 4  # of a region, inside the frame
_BODY = ((-0.2, -0.3, 1.2, 1.2), (-0.7, 1.2, 1.7, 2.5))  # head and shoulders of a person
_VISIBLE = 0.25  # least share of a region that others do not cover

Appearance = np.ndarray
"""Square roots of colour histograms, float32 [4, 3, 16]: regions, channels of CIE Lab, bins; zeros: not visible."""


def describe_appearance(image_HWC: np.ndarray, box: Box, others: Sequence[Box] = ()) -> Appearance:
    """Describes the person whose face is in a box.

    Args:
        image_HWC: RGB uint8.
        box: the face, in pixels of the picture; it may lie partly outside.
        others: faces of other people; pixels that their heads and shoulders may cover do not count.
    """
    bodies = [_part(other, *sides) for other in others for sides in _BODY]
    described = np.zeros((len(_REGIONS), 3, _BINS), np.float32)
    height, width = image_HWC.shape[:2]
    for number, (left, top, right, bottom, _) in enumerate(_REGIONS):
        first, last = max(0, round(box.left + left * box.width)), min(width, round(box.left + right * box.width))
        upper, lower = max(0, round(box.top + top * box.height)), min(height, round(box.top + bottom * box.height))
        least = 0.4 * (right - left) * (bottom - top) * box.width * box.height
        if min(last - first, lower - upper) < _LEAST_PX or (last - first) * (lower - upper) < least:
            continue
        region = cv2.resize(image_HWC[upper:lower, first:last], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(region.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
        free = ~_covered(bodies, (first, upper, last - first, lower - upper))
        if free.mean() >= _VISIBLE:
            described[number] = _histograms(lab[free.ravel()])
    return described


def _part(box: Box, left: float, top: float, right: float, bottom: float) -> Box:
    """A region given in sides of a box."""
    x, y = box.left + left * box.width, box.top + top * box.height
    return Box(x, y, (right - left) * box.width, (bottom - top) * box.height)


def _covered(bodies: Sequence[Box], region: tuple[int, int, int, int]) -> np.ndarray:
    """Pixels of a region (left, top, width, height), resized to 16 x 16, that lie in a body; bool [16, 16]."""
    left, top, width, height = region
    x = left + (np.arange(_SIDE) + 0.5) * width / _SIDE
    y = top + (np.arange(_SIDE) + 0.5) * height / _SIDE
    covered = np.zeros((_SIDE, _SIDE), bool)
    for body in bodies:
        inside_x = (x >= body.left) & (x < body.left + body.width)
        inside_y = (y >= body.top) & (y < body.top + body.height)
        covered |= inside_y[:, None] & inside_x
    return covered


def _histograms(lab_N3: np.ndarray) -> np.ndarray:
    """Square roots of the histograms of each channel; a value counts in the two nearest bins."""
    scaled = np.stack((lab_N3[:, 0] / 100, (lab_N3[:, 1] + 40) / 100, (lab_N3[:, 2] + 40) / 100)) * (_BINS - 1)
    scaled = np.clip(scaled, 0, _BINS - 1 - 1e-4)
    lower = scaled.astype(int)
    share = scaled - lower
    counts = np.zeros((3, _BINS))
    for channel in range(3):
        counts[channel] += np.bincount(lower[channel], 1 - share[channel], _BINS)
        counts[channel] += np.bincount(lower[channel] + 1, share[channel], _BINS)
    return np.sqrt(counts / len(lab_N3)).astype(np.float32)


def appearance_distance(one: Appearance | None, other: Appearance | None) -> float | None:
    """Mean Hellinger distance over the regions that are visible in both, in [0, 1]; None where there is none."""
    if one is None or other is None:
        return None
    visible = one.any(axis=(1, 2)) & other.any(axis=(1, 2))
    if not visible.any():
        return None
    weights = np.array([region[4] for region in _REGIONS])[visible]
    similar = (one[visible] * other[visible]).sum(axis=2).clip(0, 1)
    return float(weights @ np.sqrt(1 - similar).mean(axis=1) / weights.sum())


def blend(old: Appearance, new: Appearance, share: float) -> Appearance:
    """A running average: `share` of the new description; regions that only one shows are taken from it."""
    seen_old, seen_new = (each.any(axis=(1, 2)) for each in (old, new))
    mixed = np.sqrt((1 - share) * old**2 + share * new**2)
    mixed[~seen_old], mixed[~seen_new] = new[~seen_old], old[~seen_new]
    return mixed
