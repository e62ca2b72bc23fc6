"""Finds the size of the frames in a file of a shard."""

from __future__ import annotations

import tempfile
from pathlib import Path

from blear.clips import read_array
from blear.contracts import ShardMembers
from blear.errors import DataError
from blear.imaging import read_picture
from blear.video import read_video
from blear_own_data.media import is_video


def stored_size(suffix: str, members: ShardMembers) -> tuple[int, int, bool]:
    """Returns height and width of the frames, and whether the file is a video or an array of several frames.

    Raises:
        DataError: the file does not decode.
    """
    data, where = members.read(suffix), f"{members.where}, {suffix}"
    if suffix.endswith("npy"):
        return _array_size(data, where)
    if not is_video(f"x.{suffix}"):
        height, width = read_picture(data, where).shape[:2]
        return height, width, False
    with tempfile.NamedTemporaryFile(suffix=f".{suffix.rpartition('.')[2]}") as file:
        Path(file.name).write_bytes(data)
        height, width = next(read_video(Path(file.name))).image_HWC.shape[:2]
    return height, width, True


def _array_size(data: bytes, where: str) -> tuple[int, int, bool]:
    try:
        shape = read_array(data).shape
    except ValueError as error:
        raise DataError(f"the array cannot be read: {error}", where, "write it with numpy.save") from error
    if not 2 <= len(shape) <= 4:
        raise DataError(f"the array has shape {shape}", where, "give [H, W], [H, W, C] or [T, H, W, C]")
    start = 1 if len(shape) == 4 else 0
    return shape[start], shape[start + 1], len(shape) == 4 and shape[0] > 1
