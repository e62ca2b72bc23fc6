"""Converts tensors of pictures to the input clips of a model; gradients pass through."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from blear.contracts import ClipSpec
from blear.degradation.chain import require_unit_range
from blear.models.images import FORMS

_LUMA = (0.299, 0.587, 0.114)
_STUDIO = (65.481 / 255, 128.553 / 255, 24.966 / 255)


def fit_tensor(images: Tensor, clip: ClipSpec, grey: Literal["full", "studio"]) -> Tensor:
    """Converts a tensor to clips [N, T, C, H, W] of a shape, see `blear.models.images.ClipConverter`.

    Args:
        images: [N, H, W], [N, C, H, W] or [N, T, C, H, W], uint8 or float in [0, 1].
        clip: the shape.
        grey: range of the luma of colour pictures.

    Returns:
        A view where the pictures have this size and these channels, else float.

    Raises:
        ValueError: the tensor has another form or other values.
    """
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise ValueError(f"a tensor of {images.dtype} cannot be read: {FORMS}")
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    frames = {3: lambda: images[:, None, None], 4: lambda: images[:, None], 5: lambda: images}
    if images.ndim not in frames or frames[images.ndim]().shape[2] not in (1, 3):
        raise ValueError(f"a tensor {list(images.shape)} cannot be read: {FORMS}")
    clips = frames[images.ndim]()
    if clips.shape[1] not in (1, clip.length):
        raise ValueError(f"clips of {clips.shape[1]} frames, the model has clips of {clip.length}")
    require_unit_range(clips)
    if clips.shape[2:] != (clip.channels, clip.height, clip.width):
        clips = _resize(clips, clip, grey)
    return clips.expand(-1, clip.length, -1, -1, -1)


def _resize(clips_NTCHW: Tensor, clip: ClipSpec, grey: Literal["full", "studio"]) -> Tensor:
    count, frames = clips_NTCHW.shape[:2]
    x = clips_NTCHW.flatten(0, 1)
    x = x.float() / 255 if x.dtype == torch.uint8 else x
    size = (clip.height, clip.width)
    if tuple(x.shape[-2:]) != size:
        x = interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
    if x.shape[1] > clip.channels:
        weights = x.new_tensor(_STUDIO if grey == "studio" else _LUMA)
        x = (x * weights[:, None, None]).sum(1, keepdim=True) + (16 / 255 if grey == "studio" else 0)
    return x.expand(-1, clip.channels, -1, -1).unflatten(0, (count, frames))
