"""Perceptual hashes of pictures: 64 bits, the signs of low frequencies about their median.

The DCT hash of Zauner 2010 (pHash): grey, 32x32, the 8x8 lowest cosine frequencies, a bit for each above their median.
Of a clip, the middle frame's.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.fft import dct

_SIDE, _LOW = 32, 8
_COSINES = dct(np.eye(_SIDE), axis=0)[:_LOW].astype(np.float32)
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # BT.601


def hashes(frames_BCHW: np.ndarray) -> np.ndarray:
    """Hash of each picture, uint64 [B].

    Args:
        frames_BCHW: uint8 or float, one channel or RGB; a plain picture's hash is 0.
    """
    grey_BHW = frames_BCHW.astype(np.float32)
    grey_BHW = grey_BHW[:, 0] if grey_BHW.shape[1] == 1 else np.tensordot(grey_BHW[:, :3], _LUMA, axes=(1, 0))
    small_BHW = np.stack([cv2.resize(g, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for g in grey_BHW])
    low_BF = (_COSINES @ small_BHW @ _COSINES.T).reshape(len(small_BHW), -1)
    scale_B1 = np.abs(low_BF).max(axis=1, keepdims=True)
    low_BF = np.where(np.abs(low_BF) > 1e-6 * scale_B1, low_BF, 0)  # rounding of what is zero must not be a bit
    bits_BF = low_BF > np.median(low_BF, axis=1, keepdims=True)
    return np.packbits(bits_BF, axis=1).view(">u8").astype(np.uint64).ravel()
