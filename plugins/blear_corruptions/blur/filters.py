"""Blur with a given width for each clip: Gaussian and box as matrices, motion as a kernel that is an exact line."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from kornia.filters import filter2d, get_gaussian_kernel1d
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws
from blear.separable import Operators, apply_operators
from blear_corruptions.blur.params import BlurParams, BoxBlurParams, LineBlurParams
from blear_corruptions.blur.separable_filter import blur_with_kornia, uses_kornia
from blear_corruptions.strength_operation import StrengthOperation, draw_strengths, levels_of


class _SymmetricFilter(ABC):
    """A symmetric filter along both axes. The border is repeated. The filter is linear: frames are not clipped."""

    strength: ClassVar[str]
    swept: ClassVar[tuple[str, tuple[float, ...]]]

    def __init__(self, params: BlurParams | BoxBlurParams, context: BuildContext) -> None:
        self._given = params
        value = getattr(params, self.strength)
        self._most = max(value) if isinstance(value, tuple) else value

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns the strength, float32 [B]."""
        return draw_strengths(self._given, (self.strength,), torch.from_numpy(keys.uniform()))

    def operators(self, draws: Draws, height: int, width: int) -> Operators:
        """Returns one matrix for each axis."""
        weights_BK = self.weights(draws[self.strength])
        return [_matrices(weights_BK, height)], [_matrices(weights_BK, width)]

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape."""
        if uses_kornia(frames_BTCHW):
            weights_BK = self.weights(draws[self.strength])
            return blur_with_kornia(frames_BTCHW, weights_BK, weights_BK, "replicate")
        return apply_operators(frames_BTCHW, self.operators(draws, *frames_BTCHW.shape[-2:]))

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns the strengths that an evaluation sweeps by default."""
        return levels_of(self._given, self.swept)

    @abstractmethod
    def weights(self, strength_B: Tensor) -> Tensor:
        """Returns weights [B, 2 r + 1] at the distances -r to r in whole pixels; each row has the sum 1."""


class Blur(_SymmetricFilter):
    """A Gaussian, sampled at whole pixels and cut at 4 sigma."""

    strength = "sigma"
    swept = ("sigma", (0.5, 1, 2, 3, 5))

    def weights(self, strength_B: Tensor) -> Tensor:
        """Returns the Gaussian; for sigma 0 the unit impulse."""
        sigma = strength_B[:, None]
        radius = math.ceil(4 * self._most)
        weights = get_gaussian_kernel1d(2 * radius + 1, sigma.clamp(min=1e-6))
        weights = torch.where(_distances(radius, strength_B).abs() <= (4 * sigma).ceil(), weights, 0)
        return weights / weights.sum(dim=1, keepdim=True)


class BoxBlur(_SymmetricFilter):
    """The mean over a box. A pixel on the edge of the box is weighted by its part inside the box."""

    strength = "width"
    swept = ("width", (2, 3, 5, 8, 12))

    def weights(self, strength_B: Tensor) -> Tensor:
        """Returns the overlap of each pixel with the box."""
        half = strength_B[:, None] / 2
        d = _distances(math.ceil((self._most - 1) / 2), strength_B)
        return (torch.minimum(d + 0.5, half) - torch.maximum(d - 0.5, -half)).clamp(min=0) / (2 * half)


def _distances(radius: int, like: Tensor) -> Tensor:
    return torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)


def _matrices(weights_BK: Tensor, size: int) -> Tensor:
    """Returns the filter along an axis of `size` pixels as matrices [B, size, size]."""
    radius = weights_BK.shape[1] // 2
    steps = torch.arange(-radius, radius + 1, device=weights_BK.device)
    places = (torch.arange(size, device=weights_BK.device)[:, None] + steps).clamp(0, size - 1)
    shape = (len(weights_BK), *places.shape)
    empty = weights_BK.new_zeros(len(weights_BK), size, size)
    return empty.scatter_add(2, places.expand(shape), weights_BK[:, None].expand(shape))


class LineBlur(StrengthOperation):
    """Blur of a straight motion while the shutter is open. The border is repeated.

    A pixel's weight is the part of the line inside the pixel, so that length and angle need not be whole numbers.
    """

    name = "line_blur"
    strengths = ("length", "angle")
    swept = ("length", (3, 5, 9, 13, 19))

    def __init__(self, params: LineBlurParams, context: BuildContext) -> None:
        super().__init__(params, context)
        most = max(params.length) if isinstance(params.length, tuple) else params.length
        self._radius = math.ceil(most / 2 - 0.5)

    def change(self, images_NCHW: Tensor, strengths: Mapping[str, Tensor], pattern_N: Tensor, time_N: Tensor) -> Tensor:
        """Returns images blurred along the line."""
        kernels = line_kernels(strengths["length"].flatten(), strengths["angle"].flatten(), self._radius)
        return filter2d(images_NCHW, kernels, "replicate")


def line_kernels(length_N: Tensor, degrees_N: Tensor, radius: int) -> Tensor:
    """Returns kernels of centred lines, float32 [N, 2 radius + 1, 2 radius + 1], each with the sum 1.

    A weight is the part of the line inside the pixel's square, by the line clipping of Liang and Barsky (1984).
    """
    d = torch.arange(-radius, radius + 1, device=length_N.device, dtype=torch.float64)
    half = length_N.double()[:, None, None] / 2
    angle = torch.deg2rad(degrees_N.double())[:, None, None]
    enter, leave = -half, half
    for way, middle in ((angle.cos(), d), (angle.sin(), d[:, None])):
        # positions along the line where it crosses the sides; a line parallel to the sides is either inside or outside
        along = way.abs() < 1e-9
        steep = torch.where(along, 1, way)
        sides = torch.stack([(middle - 0.5) / steep, (middle + 0.5) / steep])
        inside = middle.abs() < 0.5
        near = torch.where(along, torch.where(inside, -half, half + 1), sides.amin(dim=0))
        far = torch.where(along, torch.where(inside, half, -half - 1), sides.amax(dim=0))
        enter, leave = torch.maximum(enter, near), torch.minimum(leave, far)
    part = (leave - enter).clamp(min=0)
    return (part / part.sum(dim=(1, 2), keepdim=True)).float()
