"""Noises of ImageNet-C: Gaussian, shot, impulse, speckle. Every value has its own random number, as in the original."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from blear_corruptions.imagenet_c.operation import Operation
from blear_corruptions.random_patterns import normal_pattern, uniform_pattern

_MEANS, _PLACES, _REACH = 256, 512, 5.5  # table of quantiles: rows, columns, largest |z|
_MANY = 33  # 1 + the root of the mean from which the expansion is accurate enough
_SPAN, _HALVINGS = 16.0, 24  # bisection for the quantile: width of the interval, number of halvings
_HELD: dict[str, Tensor] = {}


class _Noise(Operation):
    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Returns standard normal numbers [M, C, H, W]."""
        return normal_pattern(keys_M, (channels, self.height, self.width))


class GaussianNoise(_Noise):
    """x + std z."""

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images with noise."""
        (std,) = self.strengths(index_N)
        return images_NCHW + std * pattern_N


class SpeckleNoise(_Noise):
    """x + x std z."""

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images with noise."""
        (std,) = self.strengths(index_N)
        return images_NCHW + images_NCHW * std * pattern_N


class ShotNoise(_Noise):
    """Poisson(photons x) / photons, as the quantile of a random number. Counts have no gradient."""

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        poisson_table(torch.device("cpu"))

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images with noise."""
        (photons,) = self.strengths(index_N)
        with torch.no_grad():
            counts = poisson_quantile(images_NCHW * photons, pattern_N)
        return counts / photons


class ImpulseNoise(Operation):
    """Salt and pepper: with the probability `amount` a value becomes 0 or 1, both equally likely."""

    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Returns uniform numbers [M, C, H, W]."""
        return uniform_pattern(keys_M, (channels, self.height, self.width))

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images with noise."""
        (amount,) = self.strengths(index_N)
        salt = (pattern_N < amount / 2).to(images_NCHW.dtype)
        return torch.where(pattern_N < amount, salt, images_NCHW)


def poisson_quantile(mean: Tensor, z: Tensor) -> Tensor:
    """Returns Poisson quantiles, float32: the smallest count with at least the probability of the normal number `z`.

    The Poisson distribution function is a regularised incomplete gamma function, which is also defined between whole
    counts. Its quantile minus s (s + z), where s is the root of the mean, is smooth and is interpolated linearly in a
    table. The error is below 1e-4, so that one count in 10,000 differs from the exact quantile.

    Args:
        mean: at least 0, [N, ...].
        z: standard normal, |z| up to 5.5, of a shape that broadcasts with `mean`.
    """
    mean, z = torch.broadcast_tensors(mean.float(), z.float())
    s = mean.sqrt()
    places = torch.stack([z / _REACH, (1 + s).reciprocal_().mul_(2).sub_(1)], dim=-1).flatten(1, -2)[:, None]
    table = poisson_table(mean.device).expand(len(mean), 1, _MEANS, _PLACES)
    rest = grid_sample(table, places, padding_mode="border", align_corners=True).view_as(s)
    return (s + z).mul_(s).add_(rest).ceil_().clamp_(min=0)


def poisson_table(device: torch.device) -> Tensor:
    """Returns the table of x - 1 - s (s + z) for the real quantile x, float32, computed once for each device.

    Computing it takes half a second, and inside a compiled graph it would run each time: operations call this first.

    Rows: values of 1 / (1 + s). Columns: values of z.
    """
    if str(device) in _HELD:
        return _HELD[str(device)]
    z = torch.linspace(-_REACH, _REACH, _PLACES, dtype=torch.float64)
    s = 1 / torch.linspace(0, 1, _MEANS, dtype=torch.float64)[1:, None] - 1
    rest = (z * z + 2) / 6 + (z - z**3) / (
        72 * s.clamp(min=1)
    )  # expansion of Cornish and Fisher (1938) for large means
    near = s[_MEANS // _MANY :] * (s[_MEANS // _MANY :] + z)
    mean = (s[_MEANS // _MANY :] ** 2).expand_as(near)
    low = (near + rest[_MEANS // _MANY :] - _SPAN / 2).clamp(min=0)
    for halving in range(1, _HALVINGS + 1):
        middle = low + _SPAN / 2**halving
        low = torch.where(torch.special.gammaincc(middle, mean) < torch.special.ndtr(z), middle, low)
    # the mean of the first row is infinite
    made = torch.cat([rest[:1], rest[: _MEANS // _MANY], low - near]).float().to(device) - 1
    if not torch.compiler.is_compiling():
        _HELD[str(device)] = made
    return made
