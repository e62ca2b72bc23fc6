"""Base class of operations whose strengths have stated units.

Strengths are drawn for each clip, random patterns for each clip or frame.

Shapes in addition to `blear.contracts`: N images (all frames of all clips), M random patterns (one for each clip or
frame).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws
from blear.errors import PluginError
from blear_corruptions.param_types import StrengthParams
from blear_corruptions.random_streams import draws_per_clip

SMALLEST = 6
"""Fewest rows and columns of a frame, in pixels."""


def draw_strengths(params: StrengthParams, names: Sequence[str], uniform_BS: Tensor) -> Draws:
    """Returns name -> float32 [B]: the job's fixed number, or a uniform draw between the job's two numbers."""
    draws = {}
    for name, place_B in zip(names, uniform_BS.T, strict=True):
        value = getattr(params, name)
        low, high = value if isinstance(value, tuple) else (value, value)
        draws[name] = (low + place_B * (high - low)).float()
    return draws


def levels_of(params: StrengthParams, swept: tuple[str, tuple[float, ...]]) -> list[dict[str, Any]]:
    """Returns the parameters of each level: one value of the swept parameter, and the other parameters of the job."""
    name, values = swept
    rest = params.model_dump(exclude_defaults=True, exclude={name})
    return [rest | {name: value} for value in values]


class StrengthOperation(ABC):
    """An operation on single images. Frames are clipped to [0, 1] before and after the operation.

    Attributes:
        name: name of the component.
        strengths: parameters that are drawn for each clip; [N, 1, 1, 1] in `change`.
        swept: the parameter that an evaluation sweeps by default, and its values, mildest first.
        channels: permitted numbers of channels; empty: any number.

    Raises:
        PluginError: the frames are smaller than 6 pixels or have an unsuitable number of channels. Raised here if the
            clip's shape is known, otherwise in `apply`.
    """

    name: ClassVar[str]
    strengths: ClassVar[tuple[str, ...]]
    swept: ClassVar[tuple[str, tuple[float, ...]]]
    channels: ClassVar[tuple[int, ...]] = ()

    def __init__(self, params: StrengthParams, context: BuildContext) -> None:
        self._given = params
        per = getattr(params, "per", None)
        self._patterns = 0 if per is None else draws_per_clip(per, context, f"corruptions/{self.name}")
        if context.clip is not None:
            self.check(context.clip.channels, context.clip.height, context.clip.width)

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns the strengths, float32 [B], and `key`, int64 [B, T or 1], the key of each random pattern."""
        uniform = torch.from_numpy(keys.uniform(len(self.strengths) + self._patterns))
        draws = draw_strengths(self._given, self.strengths, uniform[:, : len(self.strengths)])
        if self._patterns:
            draws["key"] = (uniform[:, len(self.strengths) :] * 2**53).long()
        return draws

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape, in [0, 1]."""
        batch, length, channels, height, width = frames_BTCHW.shape
        self.check(channels, height, width)
        if not batch:  # some operations of PyTorch and kornia refuse an empty batch
            return frames_BTCHW
        strengths = {
            name: value.repeat_interleave(length)[:, None, None, None] for name, value in draws.items() if name != "key"
        }
        pattern = torch.empty(batch * length, 0, device=frames_BTCHW.device)
        if self._patterns:
            keys_BD = draws["key"][:, :length]  # a clip that was shortened after the draw keeps its first frames' keys
            if keys_BD.shape[1] not in (1, length):
                what = f"the draws are for {keys_BD.shape[1]} frames, but the clips have {length}"
                raise PluginError(what, f"corruptions/{self.name}", "set per: clip")
            pattern = self.pattern(keys_BD.flatten(), channels, height, width)
            if keys_BD.shape[1] != length:
                pattern = pattern.repeat_interleave(length, dim=0)
        time_N = torch.arange(length, device=frames_BTCHW.device).repeat(batch)
        images = frames_BTCHW.flatten(0, 1).float().clamp(0, 1)
        changed = self.change(images, strengths, pattern, time_N)
        return changed.clamp(0, 1).unflatten(0, (batch, length)).to(frames_BTCHW.dtype)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns the strengths that an evaluation sweeps by default."""
        return levels_of(self._given, self.swept)

    def pattern(self, keys_M: Tensor, channels: int, height: int, width: int) -> Tensor:
        """Returns the random pattern, float32 [M, ...]: a pure function of the keys, independent of the strengths."""
        return torch.empty(len(keys_M), 0, device=keys_M.device)

    @abstractmethod
    def change(self, images_NCHW: Tensor, strengths: Mapping[str, Tensor], pattern_N: Tensor, time_N: Tensor) -> Tensor:
        """Returns the changed images, of the same shape.

        Args:
            images_NCHW: float32 in [0, 1].
            strengths: the clip's strengths for each image, name -> [N, 1, 1, 1].
            pattern_N: the random pattern of each image's clip or frame, from `pattern`.
            time_N: int64, index of the frame in its clip.
        """

    def check(self, channels: int, height: int, width: int) -> None:
        """Raises a PluginError for frames that the operation does not support."""
        if min(height, width) < SMALLEST:
            what = f"frames of {height} x {width} pixels are too small"
            raise PluginError(what, f"corruptions/{self.name}", f"use frames of at least {SMALLEST} x {SMALLEST}")
        if self.channels and channels not in self.channels:
            what = f"frames of {channels} channels have no colour to change"
            raise PluginError(what, f"corruptions/{self.name}", "use it on RGB frames")
