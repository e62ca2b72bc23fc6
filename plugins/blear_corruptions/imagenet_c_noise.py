"""ImageNet-C's noises: Gaussian, shot, impulse and speckle. Every value has its own number, as in the original."""

from __future__ import annotations

import torch
from torch import Tensor

from blear_corruptions.imagenet_c import Operation
from blear_corruptions.imagenet_c_random import normal_pattern, uniform_pattern

_BELOW, _STEPS = 4, 3  # the quantile lies within [guess - 4, guess + 4): 2 ** 3 candidates


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
    """Poisson(photons x) / photons: the exact quantile of the key's number. Counts have no gradient."""

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

    Bisection around the first two terms of Cornish and Fisher's expansion (1938).
    """
    mean, z = mean.double(), z.double()
    reached = torch.special.ndtr(z)
    guess = torch.floor(mean + mean.sqrt() * z + (z * z - 1) / 6)
    low = (guess - _BELOW).clamp(min=0)
    for step in range(_STEPS - 1, -1, -1):
        middle = low + (2**step - 1)
        low = torch.where(torch.special.gammaincc(middle + 1, mean) < reached, middle + 1, low)
    return torch.where(mean > 0, low, 0).float()
