"""Perceptual hashes of images: the DCT hash of 64 bits (pHash, Zauner 2010).

The image is converted to grey and resized to 32x32. Each of the 8x8 lowest DCT coefficients gives one bit: whether the
coefficient is above the median of the 64.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.fft import dct

_SIDE, _FREQUENCIES = 32, 8
_COSINES = dct(np.eye(_SIDE), axis=0)[:_FREQUENCIES].astype(np.float32)
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # BT.601


def perceptual_hashes(frames_BCHW: np.ndarray) -> np.ndarray:
    """Computes the hash of each image.

    Args:
        frames_BCHW: uint8 or float, grey or RGB.

    Returns:
        uint64 [B]; 0 for an image of one colour.
    """
    grey_BHW = frames_BCHW.astype(np.float32)
    grey_BHW = grey_BHW[:, 0] if grey_BHW.shape[1] == 1 else np.tensordot(grey_BHW[:, :3], _LUMA, axes=(1, 0))
    small_BHW = np.stack([cv2.resize(g, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for g in grey_BHW])
    low_BF = (_COSINES @ small_BHW @ _COSINES.T).reshape(len(small_BHW), -1)
    scale_B1 = np.abs(low_BF).max(axis=1, keepdims=True)
    low_BF = np.where(np.abs(low_BF) > 1e-6 * scale_B1, low_BF, 0)  # rounding errors of a zero must not set a bit
    bits_BF = low_BF > np.median(low_BF, axis=1, keepdims=True)
    return np.packbits(bits_BF, axis=1).view(">u8").astype(np.uint64).ravel()
