"""Noise of a sensor: Gaussian noise, dead pixels, low light. Every value has its own counter-based random number."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws
from blear_corruptions.imagenet_c.noise import poisson_quantile, poisson_table
from blear_corruptions.noise.params import LowLightParams, NoiseParams, SaltPepperParams
from blear_corruptions.random_patterns import normal_pattern, uniform_pattern
from blear_corruptions.strength_operation import StrengthOperation


class Noise(StrengthOperation):
    """Adds sigma / 255 times a standard normal number to every value."""

    name = "noise"
    strengths = ("sigma",)
    swept = ("sigma", (5, 10, 20, 35, 50))

    def __init__(self, params: NoiseParams, context: BuildContext) -> None:
        super().__init__(params, context)
        self._grey = params.grey

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns `sigma` and `key` of the base class, and `grey`, bool [B]: true if all channels share the noise."""
        grey = torch.from_numpy(keys.nested(0).uniform()[:, 0] < self._grey)
        return {**super().draw(keys), "grey": grey}

    def pattern(self, keys_M: Tensor, channels: int, height: int, width: int) -> Tensor:
        """Returns standard normal numbers [M, C, H, W]."""
        return normal_pattern(keys_M, (channels, height, width))

    def change(self, images_NCHW: Tensor, strengths: Mapping[str, Tensor], pattern_N: Tensor, time_N: Tensor) -> Tensor:
        """Returns images with noise."""
        noise = torch.where(strengths["grey"], pattern_N[:, :1], pattern_N)
        return images_NCHW + strengths["sigma"] / 255 * noise


class SaltPepper(StrengthOperation):
    """Sets random pixels, or random values, to black or white."""

    name = "salt_pepper"
    strengths = ("amount",)
    swept = ("amount", (0.01, 0.03, 0.06, 0.12, 0.25))

    def __init__(self, params: SaltPepperParams, context: BuildContext) -> None:
        super().__init__(params, context)
        self._salt, self._alone = params.salt, params.each == "channel"

    def pattern(self, keys_M: Tensor, channels: int, height: int, width: int) -> Tensor:
        """Returns uniform numbers [M, C or 1, H, W]."""
        return uniform_pattern(keys_M, (channels if self._alone else 1, height, width))

    def change(self, images_NCHW: Tensor, strengths: Mapping[str, Tensor], pattern_N: Tensor, time_N: Tensor) -> Tensor:
        """Returns images with dead pixels."""
        amount = strengths["amount"]
        white = (pattern_N < amount * self._salt).to(images_NCHW.dtype)
        return torch.where(pattern_N < amount, white, images_NCHW)


class LowLight(StrengthOperation):
    """Low light with the shot noise of photons and the read noise of the sensor.

    Light is the frame to the power gamma, times 2^exposure. A pixel counts Poisson(photons x light) photons, as the
    quantile of a random number. The sensor adds Gaussian noise. Counts have no gradient.
    """

    name = "low_light"
    strengths = ("exposure", "photons")
    swept = ("exposure", (-1, -2, -3, -4, -5))

    def __init__(self, params: LowLightParams, context: BuildContext) -> None:
        super().__init__(params, context)
        self._params = params
        poisson_table(torch.device("cpu"))

    def pattern(self, keys_M: Tensor, channels: int, height: int, width: int) -> Tensor:
        """Returns standard normal numbers [M, 2, C, H, W]: of the photons and of the sensor."""
        return normal_pattern(keys_M, (2, channels, height, width))

    @torch.no_grad()
    def change(self, images_NCHW: Tensor, strengths: Mapping[str, Tensor], pattern_N: Tensor, time_N: Tensor) -> Tensor:
        """Returns darker images with noise."""
        gain, photons, gamma = 2.0 ** strengths["exposure"], strengths["photons"], self._params.gamma
        counts = poisson_quantile(images_NCHW**gamma * gain * photons, pattern_N[:, 0])
        counts = counts + self._params.read * pattern_N[:, 1]
        light = counts / photons / (gain if self._params.lift else 1)
        return light.clamp(0, 1) ** (1 / gamma)
