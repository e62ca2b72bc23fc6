"""Occlusion of the face: rectangles, bars, sunglasses or a mask, missing squares.

A pixel on the edge of a cover is covered in part, so that the covered area is exact.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from blear.contracts import BuildContext
from blear_corruptions.occlusion.params import BarsParams, FaceBandParams, Fill, OcclusionParams, PatchesParams
from blear_corruptions.random_patterns import uniform_pattern
from blear_corruptions.strength_operation import StrengthOperation

_VALUES = {"black": 0.0, "grey": 0.5, "white": 1.0}
_BANDS = {"eyes": (0.22, 0.46), "mouth": (0.54, 1.0)}


class _Cover(StrengthOperation):
    """Base class: a mask and its filling. The first numbers of a pattern position the mask, the others fill it."""

    numbers = 0
    """Number of random numbers that position a mask."""

    def __init__(
        self, params: OcclusionParams | BarsParams | FaceBandParams | PatchesParams, context: BuildContext
    ) -> None:
        self._fill: Fill = params.fill
        super().__init__(params, context)

    def pattern(self, keys_M: Tensor, channels: int, height: int, width: int) -> Tensor:
        """Returns uniform numbers [M, `numbers`], or [M, `numbers` + C H W] if noise fills the mask."""
        places = uniform_pattern(keys_M, (self.numbers,))
        if self._fill != "noise":
            return places
        return torch.cat([places, uniform_pattern(keys_M, (channels * height * width,), stream=1)], dim=1)

    def change(self, images_NCHW: Tensor, strengths: Mapping[str, Tensor], pattern_N: Tensor, time_N: Tensor) -> Tensor:
        """Returns the covered images."""
        height, width = images_NCHW.shape[-2:]
        mask = self.mask(height, width, strengths, pattern_N[:, : self.numbers, None, None], time_N)
        if self._fill == "noise":
            filling = pattern_N[:, self.numbers :].view_as(images_NCHW)
        elif self._fill == "mean":
            filling = images_NCHW.mean(dim=(2, 3), keepdim=True)
        else:
            filling = images_NCHW.new_tensor(_VALUES[self._fill])
        return images_NCHW + mask * (filling - images_NCHW)

    @abstractmethod
    def mask(
        self, height: int, width: int, strengths: Mapping[str, Tensor], places_NK11: Tensor, time_N: Tensor
    ) -> Tensor:
        """Returns the covered part of each pixel, [N, 1, H, W]."""


def overlap(size: int, start: Tensor, end: Tensor) -> Tensor:
    """Returns the part of each of `size` pixels between two positions, [..., size]; the positions are in pixels."""
    edges = torch.arange(size + 1, device=start.device, dtype=torch.float32)
    return (torch.minimum(end, edges[1:]) - torch.maximum(start, edges[:-1])).clamp(0, 1)


def reflect_within(place: Tensor, room: Tensor) -> Tensor:
    """Returns positions reflected at 0 and at `room`, so that they stay within [0, room]."""
    turned = place.remainder((2 * room).clamp(min=1e-6))
    return torch.minimum(turned, 2 * room - turned).clamp(min=0)


class Occlusion(_Cover):
    """Rectangles inside the frame, at rest or moving through the clip."""

    name = "occlusion"
    strengths = ("area", "aspect", "move")
    swept = ("area", (0.05, 0.1, 0.2, 0.35, 0.5))

    def __init__(self, params: OcclusionParams, context: BuildContext) -> None:
        self._count = params.count
        self.numbers = 3 * params.count
        super().__init__(params, context)

    def mask(
        self, height: int, width: int, strengths: Mapping[str, Tensor], places_NK11: Tensor, time_N: Tensor
    ) -> Tensor:
        """Returns the covered part of each pixel under the union of the rectangles."""
        area, aspect, move = (strengths[name][:, 0] for name in self.strengths)  # [N, 1, 1]
        each = area * height * width / self._count
        # a rectangle too long for the frame becomes as long as the frame, and broader
        rows = (each * aspect).sqrt().clamp(max=height)
        rows = torch.maximum(rows, each / width).clamp(max=height)
        columns = (each / rows.clamp(min=1e-6)).clamp(max=width)
        free = torch.ones_like(places_NK11[:, :1])
        for number in range(self._count):
            down, right, turn = places_NK11[:, 3 * number : 3 * number + 3, 0].unbind(dim=1)
            gone = move[:, 0] * time_N[:, None]
            angle = turn * 2 * torch.pi
            top = reflect_within(down * (height - rows[:, 0]) + gone * angle.sin(), height - rows[:, 0])
            left = reflect_within(right * (width - columns[:, 0]) + gone * angle.cos(), width - columns[:, 0])
            vertical = overlap(height, top, top + rows[:, 0])
            horizontal = overlap(width, left, left + columns[:, 0])
            free = free * (1 - vertical[:, None, :, None] * horizontal[:, None, None, :])
        return 1 - free


class Bars(_Cover):
    """Parallel bars with one width and one spacing."""

    name = "bars"
    strengths = ("share", "move")
    swept = ("share", (0.1, 0.2, 0.3, 0.4, 0.6))
    numbers = 1

    def __init__(self, params: BarsParams, context: BuildContext) -> None:
        self._count, self._rows = params.count, params.run == "rows"
        super().__init__(params, context)

    def mask(
        self, height: int, width: int, strengths: Mapping[str, Tensor], places_NK11: Tensor, time_N: Tensor
    ) -> Tensor:
        """Returns the covered part of each row or column."""
        size = height if self._rows else width
        period = size / self._count
        bar = strengths["share"][:, 0, 0] * period
        begin = places_NK11[:, 0, 0] * period + strengths["move"][:, 0, 0] * time_N[:, None]
        edges = torch.arange(size + 1, device=bar.device) - begin.remainder(period) + period
        covered = (edges / period).floor() * bar + torch.minimum(edges.remainder(period), bar)
        part = (covered[:, 1:] - covered[:, :-1]).clamp(0, 1)
        return part[:, None, :, None] if self._rows else part[:, None, None, :]


class FaceBand(_Cover):
    """A band across an aligned face."""

    name = "face_band"
    strengths = ("cover",)
    swept = ("cover", (0.2, 0.4, 0.6, 0.8, 1.0))

    def __init__(self, params: FaceBandParams, context: BuildContext) -> None:
        self._band = _BANDS[params.part]
        super().__init__(params, context)

    def mask(
        self, height: int, width: int, strengths: Mapping[str, Tensor], places_NK11: Tensor, time_N: Tensor
    ) -> Tensor:
        """Returns the covered part of each row."""
        top, bottom = (share * height for share in self._band)
        middle, half = (top + bottom) / 2, strengths["cover"][:, 0, 0] * (bottom - top) / 2
        return overlap(height, middle - half, middle + half)[:, None, :, None]


class Patches(_Cover):
    """Squares of a grid, each covered with a probability."""

    name = "patches"
    strengths = ("share",)
    swept = ("share", (0.05, 0.1, 0.2, 0.35, 0.5))

    def __init__(self, params: PatchesParams, context: BuildContext) -> None:
        self._grid, self.numbers = params.grid, params.grid**2
        super().__init__(params, context)

    def mask(
        self, height: int, width: int, strengths: Mapping[str, Tensor], places_NK11: Tensor, time_N: Tensor
    ) -> Tensor:
        """Returns 1 for pixels whose centre is in a covered square, 0 for others."""
        squares = (places_NK11[:, :, 0, 0] < strengths["share"][:, 0, 0]).float().unflatten(1, (self._grid, self._grid))
        device = places_NK11.device
        rows, columns = (torch.arange(size, device=device) * self._grid // size for size in (height, width))
        return squares[:, rows][:, :, columns][:, None]
