"""Public image functions that several plugins share: picture files, luma, bicubic resize, face boxes and crops."""

from blear.imaging.faces import Box, Framing, align, centred_square, crop, face_square, similarity
from blear.imaging.pictures import (
    PICTURE_SUFFIXES,
    picture_array,
    picture_files,
    read_picture,
    resize_bicubic,
    studio_luma,
)

__all__ = [
    "Box",
    "Framing",
    "PICTURE_SUFFIXES",
    "align",
    "centred_square",
    "crop",
    "face_square",
    "picture_array",
    "picture_files",
    "read_picture",
    "resize_bicubic",
    "similarity",
    "studio_luma",
]
