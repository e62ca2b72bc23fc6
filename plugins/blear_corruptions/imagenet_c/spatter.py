"""Spatter of ImageNet-C: drops of water (severities 1 to 3) or of mud (4 and 5) from smoothed noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from blear_corruptions.imagenet_c.blur import gaussian_bank
from blear_corruptions.imagenet_c.operation import Operation
from blear_corruptions.imagenet_c.weather import tinted
from blear_corruptions.random_patterns import normal_pattern

_WATER, _MUD = (175 / 255, 238 / 255, 238 / 255), (63 / 255, 42 / 255, 20 / 255)
_FAR = 20


class Spatter(Operation):
    """Drops of mud or water. Mud is brown; water is pale turquoise, embossed by the distance from the drops' edges.

    Mud is equal to the original. Water differs in two ways: the edges are the drops' inner borders (the original has
    OpenCV's Canny edges, computed image by image), and the distances are exactly Euclidean (OpenCV's are approximate).
    Severities above 3 are mud.
    """

    channels = (1, 3)

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        mud_K = rows_KP[:, 5] > 0
        self._any_mud, self._any_water = bool(mud_K.any()), not mud_K.all()
        self._smooth = gaussian_bank(rows_KP[:, 2], height, width)
        self._edge = gaussian_bank(np.where(mud_K, rows_KP[:, 4], 0), height, width)

    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Returns the covered part of each pixel, in [0, 1], [M, 1, H, W]."""
        mean, deviation, _, threshold, opacity, mud = self.strengths(index_M)
        field = mean + deviation * normal_pattern(keys_M, (1, self.height, self.width))
        liquid = self._smooth(field[:, None], index_M)[:, 0]
        covered = torch.zeros_like(liquid)
        if self._any_water:
            covered = opacity * _water(torch.where(liquid < threshold, 0, liquid))
        if self._any_mud:
            drops = self._edge((liquid > threshold).float()[:, None], index_M)[:, 0]
            covered = torch.where(mud > 0, torch.where(drops < 0.8, 0, drops), covered)
        return covered

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images with drops."""
        mud = (self.strengths(index_N)[5] > 0).float()
        colour = torch.lerp(tinted(_WATER, images_NCHW), tinted(_MUD, images_NCHW), mud)
        return torch.addcmul(images_NCHW, pattern_N, colour - mud * images_NCHW)


def _water(liquid_M1HW: Tensor) -> Tensor:
    """Returns embossed drops in the original's 8-bit steps; the largest value of an image is 1."""
    liquid = (liquid_M1HW.clamp(0, 1) * 255).floor()
    relief = _equalised(_mean3(_distance(liquid > 0)).floor())
    drops = liquid * _mean3(_embossed(relief).clamp(0, 255)).round()
    most = drops.amax(dim=(2, 3), keepdim=True)
    return drops / torch.where(most == 0, 1, most)


def _distance(inside_M1HW: Tensor) -> Tensor:
    """Returns the Euclidean distance from the borders of the drops in pixels, at most 20.

    The smallest squared distance is computed along the columns first, then along the rows.
    """
    inner = pad(inside_M1HW, (1, 1, 1, 1), value=True)
    inner = inner[:, :, :-2] & inner[:, :, 1:-1] & inner[:, :, 2:]
    inner = inner[..., :-2] & inner[..., 1:-1] & inner[..., 2:]
    squares = (inner | ~inside_M1HW).to(torch.int16) * _FAR**2
    for axis, around in ((2, (0, 0, _FAR, _FAR)), (3, (_FAR, _FAR, 0, 0))):
        padded, side = pad(squares, around, value=_FAR**2), squares.shape[axis]
        for steps in range(1, _FAR):
            near = torch.minimum(padded.narrow(axis, _FAR - steps, side), padded.narrow(axis, _FAR + steps, side))
            squares = torch.minimum(squares, near + steps**2)
    return squares.float().sqrt()


def _equalised(levels_M1HW: Tensor) -> Tensor:
    """Returns OpenCV's equalizeHist of the whole levels 0 to 20, for each image."""
    levels = levels_M1HW.flatten(1).long()
    counts = torch.zeros(len(levels), _FAR + 1, device=levels.device)
    counts = counts.scatter_add(1, levels, torch.ones_like(levels, dtype=counts.dtype))
    below = counts.cumsum(dim=1)
    lowest = counts.gather(1, levels.amin(dim=1, keepdim=True))
    rest = levels.shape[1] - lowest
    table = ((below - lowest) * 255 / torch.where(rest == 0, 1, rest)).round()
    table = torch.where(rest == 0, torch.arange(_FAR + 1, device=levels.device), table)
    return table.gather(1, levels).view_as(levels_M1HW)


def _embossed(images_M1HW: Tensor) -> Tensor:
    """Returns images filtered with the emboss kernel -2 -1 0, -1 1 1, 0 1 2."""
    p = pad(images_M1HW, (1, 1, 1, 1), mode="reflect")
    middle = slice(1, -1)
    slope = p[:, :, 2:, middle] - p[:, :, :-2, middle] + p[:, :, middle, 2:] - p[:, :, middle, :-2]
    return images_M1HW + slope + 2 * (p[:, :, 2:, 2:] - p[:, :, :-2, :-2])


def _mean3(images_M1HW: Tensor) -> Tensor:
    padded = pad(images_M1HW, (1, 1, 1, 1), mode="reflect")
    sums = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    return (sums[..., :-2] + sums[..., 1:-1] + sums[..., 2:]) / 9
