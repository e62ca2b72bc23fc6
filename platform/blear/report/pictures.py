"""Converts faces to data URIs. Large faces are resized and compressed to limit the size of the page."""

from __future__ import annotations

import base64

import cv2
import numpy as np

_MAX_PNG_SIZE, _MAX_SIZE = 64, 128
_QUALITY = 85


def picture_uri(frame_HWC: np.ndarray) -> str:
    """Converts a uint8 picture, grey or RGB: PNG up to 64 pixels, else WebP of at most 128 pixels."""
    ordered = frame_HWC[..., ::-1] if frame_HWC.shape[-1] == 3 else frame_HWC
    ordered = np.ascontiguousarray(ordered)
    size = max(ordered.shape[:2])
    if size <= _MAX_PNG_SIZE:
        return _uri("png", cv2.imencode(".png", ordered)[1])
    if size > _MAX_SIZE:
        height, width = (max(1, round(side * _MAX_SIZE / size)) for side in ordered.shape[:2])
        ordered = cv2.resize(ordered, (width, height), interpolation=cv2.INTER_AREA)
    return _uri("webp", cv2.imencode(".webp", ordered, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1])


def _uri(kind: str, encoded: np.ndarray) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(encoded.tobytes()).decode()
