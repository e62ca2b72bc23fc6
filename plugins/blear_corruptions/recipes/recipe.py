"""Base class of the recipes of blind restoration: severities, shapes and levels.

A recipe draws its parameters for each clip (in RealBasicVSR they are a random walk over the frames). Every frame has
its own noise. The small frames are enlarged at the end, so that the result has the size of the given frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws
from blear.errors import PluginError
from blear_corruptions.imagenet_c.operation import SMALLEST
from blear_corruptions.recipes.canvas import Canvas
from blear_corruptions.recipes.params import RecipeParams
from blear_corruptions.recipes.random_draws import RandomNumbers


class Recipe(ABC):
    """A degradation of several steps on canvases.

    Args:
        name: name of the component.
        params: severities.
        context: if it has the clip's shape, unsuitable frames raise an error here.
        frames: number of draws for one clip, 1 or its length.

    Raises:
        PluginError: the frames are smaller than 6 pixels, or have neither 1 nor 3 channels; here or in `apply`.
    """

    def __init__(self, name: str, params: RecipeParams, context: BuildContext, frames: int = 1) -> None:
        self._name, self._frames = f"corruptions/{name}", frames
        weights = params.weights()
        self._shares = np.array(list(weights)) / 5
        shares = np.array(list(weights.values()))
        self._inner_edges = (np.cumsum(shares) / shares.sum())[:-1]
        if context.clip is not None:
            self._check(context.clip.channels, context.clip.height, context.clip.width)

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns all parameters, [B, 1] or [B, T]."""
        numbers = RandomNumbers(keys, self._frames)
        share_B = self._shares[np.searchsorted(self._inner_edges, numbers.column()[:, 0], side="right")]
        return self.parameters(numbers, share_B)

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape, in [0, 1]."""
        batch, length, channels, height, width = frames_BTCHW.shape
        self._check(channels, height, width)
        if not batch:  # some operations of PyTorch and kornia refuse an empty batch
            return frames_BTCHW
        each = {name: value.expand(batch, length).flatten() for name, value in draws.items() if name != "key"}
        images = frames_BTCHW.flatten(0, 1).float().clamp(0, 1)
        done = self.change(Canvas.full(images), each, draws["key"], length)
        return done.images_NCHW.clamp(0, 1).unflatten(0, (batch, length)).to(frames_BTCHW.dtype)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns five severities: one fifth, two fifths, up to the whole of the published ranges."""
        return [{"severity": severity} for severity in (1, 2, 3, 4, 5)]

    @abstractmethod
    def parameters(self, numbers: RandomNumbers, share_B: np.ndarray) -> Draws:
        """Returns the draws, with the noise's `key`.

        Args:
            numbers: random numbers.
            share_B: share of the published ranges for each clip, in (0, 1].
        """

    @abstractmethod
    def change(self, canvas: Canvas, draws: Draws, key_B1: Tensor, length: int) -> Canvas:
        """Returns the degraded images. They fill canvases of the same size as before.

        Args:
            canvas: N = B x `length` images.
            draws: the draws of `parameters`, one number for each image.
            key_B1: int64, key of the noise.
            length: number of frames of a clip.
        """

    def _check(self, channels: int, height: int, width: int) -> None:
        if channels not in (1, 3):
            what = f"frames of {channels} channels are neither grey nor RGB"
            raise PluginError(what, self._name, "use it on frames of 1 or 3 channels")
        if min(height, width) < SMALLEST:
            what = f"frames of {height} x {width} pixels are too small"
            raise PluginError(what, self._name, f"use frames of at least {SMALLEST} x {SMALLEST}")
