"""Perceptual hashes of images: the DCT hash of 64 bits (pHash, Zauner 2010).

The image is converted to grey and resized to 32x32. Each of the 8x8 lowest DCT coefficients gives one bit: whether the
coefficient is above the median of the 64.

A picture of one colour, a ramp, stripes or a checkerboard has only a few coefficients that are not zero. Such pictures
have nearly the same hash although they differ. `has_content` finds them.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.fft import dct

_SIDE, _FREQUENCIES = 32, 8
_MIN_COEFFICIENTS = 24  # of 63; a checkerboard has 16, a picture that is symmetric about one axis up to 31
_SCALE = 2 * _SIDE  # of the coefficients below to those of the orthonormal transform
_COSINES = dct(np.eye(_SIDE), axis=0)[:_FREQUENCIES].astype(np.float32)
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # BT.601


def perceptual_hashes(frames_BCHW: np.ndarray) -> np.ndarray:
    """Computes the hash of each image.

    Args:
        frames_BCHW: uint8 or float of 0 to 255, grey or RGB.

    Returns:
        uint64 [B].
    """
    low_BF = _low_frequencies(frames_BCHW)
    scale_B1 = np.abs(low_BF).max(axis=1, keepdims=True)
    low_BF = np.where(np.abs(low_BF) > 1e-6 * scale_B1, low_BF, 0)  # rounding errors of a zero must not set a bit
    bits_BF = low_BF > np.median(low_BF, axis=1, keepdims=True)
    return np.packbits(bits_BF, axis=1).view(">u8").astype(np.uint64).ravel()


def has_content(frames_BCHW: np.ndarray) -> np.ndarray:
    """Returns whether the hash of each image describes a picture, bool [B].

    It does if at least 24 of the 63 coefficients besides the mean are at least one grey level in the orthonormal
    transform, which is about three times the rounding error of 8 bits.

    Args:
        frames_BCHW: uint8 or float of 0 to 255, grey or RGB.
    """
    coefficients_BF = np.abs(_low_frequencies(frames_BCHW)[:, 1:]) / _SCALE
    return (coefficients_BF >= 1).sum(axis=1) >= _MIN_COEFFICIENTS


def _low_frequencies(frames_BCHW: np.ndarray) -> np.ndarray:
    """Computes the 8x8 lowest DCT coefficients of each image, row by row: float32 [B, 64], the mean first."""
    grey_BHW = frames_BCHW.astype(np.float32)
    grey_BHW = grey_BHW[:, 0] if grey_BHW.shape[1] == 1 else np.tensordot(grey_BHW[:, :3], _LUMA, axes=(1, 0))
    small_BHW = np.stack([cv2.resize(g, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for g in grey_BHW])
    return (_COSINES @ small_BHW @ _COSINES.T).reshape(len(small_BHW), -1)
