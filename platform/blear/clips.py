"""Public functions that bring pictures and videos of any size to clips of one size."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from tokenize import TokenError
from typing import Literal

import numpy as np
from numpy.lib import format as npy

from blear.errors import DataError
from blear.imaging import read_picture
from blear.progress import echo
from blear.video import VideoFrame, read_video

Fit = Literal["crop", "stretch", "pad", "exact"]
"""How a picture gets another shape: its centre is cut out, its sides are scaled apart, or black borders are added.
`exact`: a picture of another shape is an error."""
VIDEO_ENDINGS = ("avi", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "webm", "wmv")
"""Endings of video files, in lower case."""
_MAX_KEPT = 4096  # frames of a video in memory; a longer video is thinned out evenly while it is read


def fit_picture(image: np.ndarray, height: int, width: int, fit: Fit = "crop") -> np.ndarray:
    """Resizes a picture to height x width with Pillow's antialiased bicubic interpolation.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        height: rows of the result.
        width: columns of the result.
        fit: `crop` cuts the largest centred rectangle of the wanted shape out of the picture and resizes it; `stretch`
            resizes the whole picture; `pad` resizes the whole picture with its aspect ratio, between black borders.

    Returns:
        uint8 [height, width, 1 or 3].

    Raises:
        ValueError: `fit` is `exact`, and the picture has another size.
    """
    from PIL import Image, ImageOps

    if image.shape[:2] == (height, width):
        return image.reshape(height, width, -1)
    if fit == "exact":
        raise ValueError(f"it has {image.shape[1]}x{image.shape[0]} pixels, other samples {width}x{height}: set `size`")
    picture, size, bicubic = Image.fromarray(image), (width, height), Image.Resampling.BICUBIC
    if fit == "crop":
        picture = ImageOps.fit(picture, size, bicubic)
    elif fit == "pad":
        picture = ImageOps.pad(picture, size, bicubic)
    else:
        picture = picture.resize(size, bicubic)
    return np.array(picture).reshape(height, width, -1)


def to_grey(image_HWC: np.ndarray) -> np.ndarray:
    """Converts a uint8 RGB image [H, W, 3] to BT.601 luma in full range, uint8 [H, W], as `read_picture` does."""
    from PIL import Image

    return np.array(Image.fromarray(image_HWC).convert("L"))


def read_video_clip(video: Path, length: int, transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Reads `length` evenly spaced frames of a video, the first and the last one included.

    A video with fewer frames repeats some of them. Of a video with more than 4096 frames, the nearest frames of an even
    subset are used.

    Args:
        video: the file.
        length: frames of the clip.
        transform: applied to each RGB frame uint8 [H, W, 3] before it is kept.

    Returns:
        [length, ...], the transformed frames.

    Raises:
        DataError: the file is missing, damaged or no video.
    """
    return _spread(read_video(video, threads=1), length, transform)


def _spread(frames: Iterable[VideoFrame], length: int, transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns `length` evenly spaced frames, transformed; see `read_video_clip`."""
    kept: list[np.ndarray] = []
    every = 1
    for number, frame in enumerate(frames):
        if number % every:
            continue
        kept.append(transform(frame.image_HWC))
        if len(kept) > _MAX_KEPT:
            kept, every = kept[::2], 2 * every
    chosen = np.linspace(0, len(kept) - 1, length).round().astype(int)
    return np.stack([kept[index] for index in chosen])


def read_array(data: bytes) -> np.ndarray:
    """Reads the content of an npy file, which numpy.save wrote. Arrays of Python objects are rejected.

    Raises:
        ValueError: the content is damaged, or is no npy file. numpy itself raises errors of six kinds.
    """
    try:
        return npy.read_array(io.BytesIO(data), allow_pickle=False)
    except (EOFError, MemoryError, OSError, OverflowError, SyntaxError, TokenError, TypeError, ValueError) as error:
        raise ValueError(f"it is no npy array: {error}") from error


def decode_frames(data: bytes, name: str, shape: tuple[int, int, int, int], fit: Fit) -> np.ndarray:
    """Decodes the content of a picture file, a video file or an npy array as a clip.

    Args:
        data: content of the file. An array is uint8 [H, W], [H, W, C] or [T, H, W, C] with 1, 3 or 4 channels.
        name: of the file, for messages; its ending tells videos (`VIDEO_ENDINGS`) and arrays (npy) from pictures.
        shape: frames, height, width and channels (1 or 3) of the clip. Of more frames, evenly spaced ones are used; a
            picture is repeated.
        fit: see `fit_picture`.

    Returns:
        uint8 of the given shape.

    Raises:
        DataError: the file does not decode, or has another size and `fit` is `exact`.
    """
    length, height, width, channels = shape

    def frame(image: np.ndarray) -> np.ndarray:
        return fit_picture(_coloured(image, channels), height, width, fit)

    ending = name.rpartition(".")[2].lower()
    try:
        if ending == "npy":
            array = read_array(data)
            if array.dtype != np.uint8 or not 2 <= array.ndim <= 4 or not array.size:
                raise ValueError(
                    f"the array is {array.dtype} {array.shape}, not uint8 [H, W], [H, W, C] or [T, H, W, C]"
                )
            clip = array[None] if array.ndim < 4 else array
            chosen = np.linspace(0, len(clip) - 1, length).round().astype(int)
            return np.stack([frame(clip[index]) for index in chosen])
        if ending in VIDEO_ENDINGS:
            return _decode_video(data, name, ending, length, frame)
        picture = read_picture(data, name, color="rgb" if channels == 3 else "grey")
        return np.broadcast_to(frame(picture), shape)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(str(error), name, "replace it by an intact file") from error


def _decode_video(
    data: bytes, name: str, ending: str, length: int, transform: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Decodes the content of a video file as a clip. Messages have `name`, not the temporary file that FFmpeg reads."""
    with tempfile.NamedTemporaryFile(suffix=f".{ending}") as file:
        Path(file.name).write_bytes(data)
        frames = read_video(Path(file.name), threads=1, notice=lambda text: echo(text.replace(file.name, name)))
        try:
            return _spread(frames, length, transform)
        except DataError as error:
            raise DataError(error.what, name, error.do) from error


def _coloured(image: np.ndarray, channels: int) -> np.ndarray:
    """Converts a picture [H, W] or [H, W, 1, 3 or 4] to grey [H, W] or RGB [H, W, 3]."""
    if image.ndim == 3 and image.shape[2] not in (1, 3, 4):
        raise ValueError(f"it has {image.shape[2]} channels")
    plain = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if plain.ndim == 3:
        return to_grey(np.ascontiguousarray(plain[..., :3])) if channels == 1 else np.ascontiguousarray(plain[..., :3])
    return plain if channels == 1 else np.repeat(plain[..., None], 3, axis=2)
