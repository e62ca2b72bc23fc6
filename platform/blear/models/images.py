"""Converts arrays, Pillow images and picture files to the input clips of a model.

torch is imported for tensors and for pictures of floats only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, Union, cast

import cv2
import numpy as np
from PIL.Image import Image

from blear.contracts import ClipSpec
from blear.imaging import picture_array, read_picture, studio_luma

if TYPE_CHECKING:
    from torch import Tensor

Picture: TypeAlias = np.ndarray | Image | Path | str
"""One picture: an array [H, W] or [H, W, C], a picture of Pillow, or the path of a file."""
Pictures: TypeAlias = np.ndarray | Image | Sequence[Picture]
"""A batch of pictures or clips that is no tensor."""
Images: TypeAlias = Union[Pictures, "Tensor"]
"""A batch of pictures or clips, see `Model.forward`."""

FORMS = (
    "give an array [N, H, W], [N, H, W, 3] or [N, T, H, W, C] or a tensor [N, H, W], [N, C, H, W] or [N, T, C, H, W], "
    "uint8 or float in [0, 1]; or a list of uint8 arrays [H, W] or [H, W, 3], of pictures of Pillow or of paths"
)


@dataclass(frozen=True)
class ClipConverter:
    """Converts pictures to clips of one shape.

    Pictures of this size and these channels pass unchanged. Others are resized to it, whatever their aspect ratio: by
    area averaging where they are larger, bilinearly where they are smaller. Grey pictures become colour by repetition;
    colour pictures become grey as the luma of BT.601. A picture for a model of clips is repeated in every frame.

    Attributes:
        clip: the shape.
        grey: range of the luma of colour pictures.
    """

    clip: ClipSpec
    grey: Literal["full", "studio"]

    def chunks(self, images: Images, size: int) -> Iterator[Tensor]:
        """Yields clips [n, T, C, H, W] of at most `size` pictures on the CPU, uint8 or float; a tensor is one chunk.

        Raises:
            ValueError: the pictures have another form or other values.
            DataError: a path names no readable picture.
        """
        import torch

        from blear.models.image_tensors import fit_tensor

        if isinstance(images, torch.Tensor):
            yield fit_tensor(images, self.clip, self.grey)
            return
        yield from map(torch.from_numpy, self.arrays(images, size))

    def arrays(self, images: Pictures, size: int) -> Iterator[np.ndarray]:
        """Yields the clips of `chunks` as arrays."""
        if isinstance(images, np.ndarray):
            self._check_array(images)
            pictures: Sequence[Picture] = cast(Sequence[Picture], images)
        elif isinstance(images, Sequence) and not isinstance(images, str):
            pictures = images
        else:
            pictures = [cast(Picture, images)]
        for first in range(0, len(pictures), size):
            part = pictures[first : first + size]
            if isinstance(part, np.ndarray) and part.dtype != np.uint8:
                yield self._of_floats(part)
            else:
                yield self._stack([self._from_picture(picture) for picture in part])

    @staticmethod
    def _check_array(images: np.ndarray) -> None:
        if images.dtype == np.uint8 or np.issubdtype(images.dtype, np.floating):
            if images.ndim in (4, 5) or (images.ndim == 3 and images.shape[-1] not in (3, 4)):
                return
            if images.ndim == 2 or (images.ndim == 3 and images.shape[-1] == 3):
                raise ValueError(f"an array {list(images.shape)} is no batch; of one picture, give images[None]")
        raise ValueError(f"an array {list(images.shape)} of {images.dtype} cannot be read: {FORMS}")

    def _from_picture(self, picture: Picture) -> np.ndarray:
        """uint8 [T, H, W, C] of one picture or clip, in the model's shape."""
        if isinstance(picture, str | Path):
            frames = read_picture(Path(picture))[None]
        elif isinstance(picture, np.ndarray):
            frames = _frames_of(picture)
        elif isinstance(picture, Image):
            frames = picture_array(picture)[None]
        else:
            raise ValueError(f"{type(picture).__name__} is no picture: {FORMS}")
        if len(frames) not in (1, self.clip.length):
            raise ValueError(f"a clip of {len(frames)} frames, the model has clips of {self.clip.length}")
        if frames.shape[1:] != (self.clip.height, self.clip.width, self.clip.channels):
            frames = np.stack([self._fit(frame) for frame in frames])
        return np.repeat(frames, self.clip.length, axis=0) if len(frames) < self.clip.length else frames

    def _fit(self, image_HWC: np.ndarray) -> np.ndarray:
        """One picture in the model's size and channels."""
        height, width = self.clip.height, self.clip.width
        resized = resize_face(image_HWC, height, width)
        if self.clip.channels == resized.shape[2]:
            return resized
        if self.clip.channels == 1:
            grey = studio_luma(resized) if self.grey == "studio" else cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY)
            return grey[..., None]
        return np.repeat(resized, self.clip.channels, axis=2)

    @staticmethod
    def _stack(frames: Sequence[np.ndarray]) -> np.ndarray:
        return np.ascontiguousarray(np.stack(frames).transpose(0, 1, 4, 2, 3))

    def _of_floats(self, images: np.ndarray) -> np.ndarray:
        """Clips of float arrays [N, H, W], [N, H, W, C] or [N, T, H, W, C]."""
        import torch

        from blear.models.image_tensors import fit_tensor

        tensor = torch.from_numpy(np.require(images, np.float32, ["C", "W"]))
        channels_first = tensor if tensor.ndim == 3 else tensor.movedim(-1, -3)
        return np.asarray(fit_tensor(channels_first, self.clip, self.grey))


def resize_face(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a picture [H, W, C] to [height, width, C]: by area averaging if it is larger, else bilinearly."""
    if image_HWC.shape[:2] == (height, width):
        return image_HWC
    larger = image_HWC.shape[0] * image_HWC.shape[1] > height * width
    resized = cv2.resize(image_HWC, (width, height), interpolation=cv2.INTER_AREA if larger else cv2.INTER_LINEAR)
    return resized if resized.ndim == 3 else resized[..., None]  # OpenCV drops a single channel


def _frames_of(picture: np.ndarray) -> np.ndarray:
    """uint8 [T, H, W, C] of a picture [H, W], [H, W, C] or a clip [T, H, W, C]."""
    if picture.dtype != np.uint8:
        raise ValueError(f"a picture of {picture.dtype} cannot be read: {FORMS}")
    if picture.ndim == 2:
        return picture[None, ..., None]
    if picture.ndim == 3 and picture.shape[2] in (1, 3):
        return picture[None]
    if picture.ndim == 4 and picture.shape[3] in (1, 3):
        return picture
    raise ValueError(f"a picture {list(picture.shape)} cannot be read: {FORMS}")
