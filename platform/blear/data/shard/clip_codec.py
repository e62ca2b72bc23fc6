"""Encodes one clip as a member of a sample, PNG or npy, and decodes members of any shape; checks of both formats."""

from __future__ import annotations

import io
import math
import tokenize
from collections.abc import Mapping

import cv2
import numpy as np

from blear.data.shard.image_decoders import decode_image
from blear.data.shard.image_header import read_image_header

IMAGE_SUFFIXES = ("png", "jpg", "jpeg")
CLIP_SUFFIXES = ("npy", *IMAGE_SUFFIXES)
"""Suffixes of members that hold a clip; the first one that a sample has is decoded."""
_MAX_PIXELS = 1 << 26
_MAX_NPY_HEADER = 4096


class BrokenClip(Exception):
    """A member that does not decode; the data path counts it and never raises it to its callers."""


def encode_clip(clip_THWC: np.ndarray) -> tuple[str, bytes]:
    """Encodes a clip.

    Args:
        clip_THWC: uint8 or float32.

    Returns:
        (`png`, one PNG with the frames below each other) for uint8 with 1 or 3 channels, else (`npy`, NumPy file).

    Raises:
        ValueError: OpenCV cannot encode an image of this size.
    """
    frames, height, width, channels = clip_THWC.shape
    if clip_THWC.dtype == np.uint8 and channels in (1, 3):
        stacked = np.ascontiguousarray(clip_THWC.reshape(frames * height, width, channels)[..., ::-1])  # OpenCV: BGR
        done, data = cv2.imencode(".png", stacked)
        if not done:
            raise ValueError(f"an image of {width}x{frames * height} pixels cannot be encoded as PNG")
        return "png", data.tobytes()
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(clip_THWC), allow_pickle=False)
    return "npy", stream.getvalue()


def decode_clip(members: Mapping[str, bytes], prefix: str, frames: int) -> np.ndarray | None:
    """Decodes a clip of any shape.

    Args:
        members: suffix -> content of the sample's members.
        prefix: empty, or `clean.`.
        frames: number of frames in an image; an npy member holds its own.

    Returns:
        [T, H, W, C], uint8 or float32; None if no member holds such a clip.

    Raises:
        BrokenClip: the member does not decode.
    """
    suffix = next((prefix + kind for kind in CLIP_SUFFIXES if prefix + kind in members), None)
    if suffix is None:
        return None
    data = np.frombuffer(members[suffix], dtype=np.uint8)
    if suffix.endswith("npy"):
        shape, dtype, start, fortran = read_npy_header(suffix, data)
        count = math.prod(shape)
        if len(data) - start < count * dtype.itemsize:
            raise BrokenClip(f"the {suffix} member does not decode")
        return np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if fortran else "C").copy()
    header = read_image_header(members[suffix])
    if header is not None and header.width * header.height > _MAX_PIXELS:
        raise BrokenClip(f"the {suffix} member declares {header.width}x{header.height} pixels")
    image = decode_image(data, header) if header is not None else None
    if image is None:
        raise BrokenClip(f"the {suffix} member does not decode")
    check_image(suffix, image)
    return np.ascontiguousarray(image).reshape(clip_shape(suffix, image.shape, frames))


def check_image(suffix: str, image: np.ndarray) -> None:
    """Raises `BrokenClip` unless a decoded image is uint8 [rows, width, 1 or 3]."""
    if image.dtype != np.uint8 or image.shape[2] not in (1, 3):
        raise BrokenClip(f"the {suffix} member is neither grey nor RGB of 8 bits")


def clip_shape(suffix: str, image: tuple[int, ...], frames: int) -> tuple[int, int, int, int]:
    """Computes (T, H, W, C) of an image of shape (rows, width, channels) that holds frames below each other.

    Raises:
        BrokenClip: the number of rows is not a multiple of `frames`.
    """
    rows, width, channels = image
    if frames < 1 or rows % frames:
        raise BrokenClip(f"the rows of the {suffix} member do not divide into its frames")
    return frames, rows // frames, width, channels


def read_npy_header(suffix: str, data: np.ndarray) -> tuple[tuple[int, ...], np.dtype, int, bool]:
    """Reads the header of an npy member.

    Args:
        suffix: of the member, for messages.
        data: uint8 [bytes].

    Returns:
        (shape [T, H, W, C], type, offset of the values, whether they are in Fortran order).

    Raises:
        BrokenClip: not an npy file, or not a clip of uint8 or float32.
    """
    stream = io.BytesIO(data[:_MAX_NPY_HEADER].tobytes())
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except (ValueError, EOFError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
        # SyntaxError and those after it: NumPy evaluates the header as a Python literal
        raise BrokenClip(f"the {suffix} member does not decode") from None
    if dtype.hasobject:
        raise BrokenClip(f"the {suffix} member does not decode")
    if len(shape) != 4 or dtype not in (np.uint8, np.float32) or min(shape) < 0:
        raise BrokenClip(f"the {suffix} member is not uint8 or float32 [T, H, W, C]")
    return shape, dtype, stream.tell(), fortran
