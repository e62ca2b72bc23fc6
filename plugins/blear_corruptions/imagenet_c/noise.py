"""ImageNet-C's noises: Gaussian, shot, impulse and speckle. Every value has its own number, as in the original."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from blear_corruptions.imagenet_c.operation import Operation
from blear_corruptions.random_patterns import normal_pattern, uniform_pattern

_MEANS, _PLACES, _REACH = 256, 512, 5.5  # of the table of quantiles: rows, columns, largest |z|
_MANY = 33  # 1 + the root of the mean from which on the expansion does
_SPAN, _HALVINGS = 16.0, 24  # of the search for the quantile
_HELD: dict[str, Tensor] = {}


class _Noise(Operation):
    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Standard normal [M, C, H, W]."""
        return normal_pattern(keys_M, (channels, self.height, self.width))


class GaussianNoise(_Noise):
    """x + std z."""

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Images with noise."""
        (std,) = self.strengths(index_N)
        return images_NCHW + std * pattern_N


class SpeckleNoise(_Noise):
    """x + x std z."""

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Images with noise."""
        (std,) = self.strengths(index_N)
        return images_NCHW + images_NCHW * std * pattern_N


class ShotNoise(_Noise):
    """Poisson(photons x) / photons: the quantile of the key's number. Counts have no gradient."""

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        _table(torch.device("cpu"))

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Images with noise."""
        (photons,) = self.strengths(index_N)
        with torch.no_grad():
            counts = poisson_quantile(images_NCHW * photons, pattern_N)
        return counts / photons


class ImpulseNoise(Operation):
    """Salt and pepper: each value becomes 0 or 1, as often, with the probability `amount`."""

    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Uniform [M, C, H, W]."""
        return uniform_pattern(keys_M, (channels, self.height, self.width))

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Images with noise."""
        (amount,) = self.strengths(index_N)
        salt = (pattern_N < amount / 2).to(images_NCHW.dtype)
        return torch.where(pattern_N < amount, salt, images_NCHW)


def poisson_quantile(mean: Tensor, z: Tensor) -> Tensor:
    """Smallest count whose Poisson distribution reaches that of a standard normal `z`; float32, for |z| up to 5.5.

    The distribution of counts, a regularised incomplete gamma function, is continued to real x; its quantile less
    s (s + z), where s is the root of the mean, is smooth, and read from a table between whose places lines run. That
    misses the real quantile by less than 1e-4, so that one count in 10,000 is another one.

    Args:
        mean: at least 0, [N, ...].
        z: of the same shape, or one that broadcasts with it.
    """
    mean, z = torch.broadcast_tensors(mean.float(), z.float())
    s = mean.sqrt()
    places = torch.stack([z / _REACH, (1 + s).reciprocal_().mul_(2).sub_(1)], dim=-1).flatten(1, -2)[:, None]
    table = _table(mean.device).expand(len(mean), 1, _MEANS, _PLACES)
    rest = grid_sample(table, places, padding_mode="border", align_corners=True).view_as(s)
    return (s + z).mul_(s).add_(rest).ceil_().clamp_(min=0)


def _table(device: torch.device) -> Tensor:
    """x - 1 - s (s + z) of the real quantile x, float32 at places of [1 / (1 + s), z]; made once for a device."""
    if str(device) in _HELD:
        return _HELD[str(device)]
    z = torch.linspace(-_REACH, _REACH, _PLACES, dtype=torch.float64)
    s = 1 / torch.linspace(0, 1, _MEANS, dtype=torch.float64)[1:, None] - 1
    rest = (z * z + 2) / 6 + (z - z**3) / (72 * s.clamp(min=1))  # Cornish and Fisher 1938, for many photons
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
