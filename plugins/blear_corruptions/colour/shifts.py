"""Shifts of colour: white balance, gains, saturation, hue. All are linear in the pixel values and have gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from kornia.enhance import adjust_saturation_with_gray_subtraction
from torch import Tensor

from blear_corruptions.strength_operation import StrengthOperation

_TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
_TO_LINEAR = ((3.2406, -1.5372, -0.4986), (-0.9689, 1.8758, 0.0415), (0.0557, -0.2040, 1.0570))  # XYZ to sRGB
_CAMERA_K, _GAMMA, _STEP_K = 6500, 2.2, 50


def light(kelvin: np.ndarray) -> np.ndarray:
    """Returns the linear sRGB colour of a black body, [..., 3], scaled to green 1.

    The Planckian locus is the approximation of Kim et al. (2002) for 1667 to 25000 K.
    """
    t = 1e3 / kelvin
    x = np.where(
        kelvin < 4000,
        -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910,
        -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390,
    )
    y = np.select(
        [kelvin < 2222, kelvin < 4000],
        [
            -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683,
            -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867,
        ],
        3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483,
    )
    rgb = np.stack([x / y, np.ones_like(x), (1 - x - y) / y], axis=-1) @ np.array(_TO_LINEAR).T
    return (rgb / rgb[..., 1:2]).clip(0)


class WhiteBalance(StrengthOperation):
    """Multiplies linear light (gamma 2.2) by the colour of a black body relative to 6500 K. Green is unchanged."""

    name = "white_balance"
    strengths = ("kelvin",)
    swept = ("kelvin", (5500, 4500, 3500, 3000, 2500))
    channels = (3,)

    def change(self, images_NCHW: Tensor, strengths: Mapping[str, Tensor], pattern_N: Tensor, time_N: Tensor) -> Tensor:
        """Returns warmer or colder images."""
        gains_K3 = torch.from_numpy(_GAINS).to(images_NCHW.device)
        place = (strengths["kelvin"].flatten() - 2000) / _STEP_K
        low = place.floor().long().clamp(0, len(gains_K3) - 2)
        gain_N3 = torch.lerp(gains_K3[low], gains_K3[low + 1], (place - low)[:, None])
        return images_NCHW * gain_N3[:, :, None, None]


_GRID = np.arange(2000.0, 25000.0 + _STEP_K, _STEP_K)
_GAINS = ((light(_GRID) / light(np.array(float(_CAMERA_K)))) ** (1 / _GAMMA)).astype(np.float32)


class ChannelGain(StrengthOperation):
    """A factor for each channel."""

    name = "channel_gain"
    strengths = ("red", "green", "blue")
    swept = ("red", (0.9, 0.8, 0.7, 0.6, 0.5))
    channels = (3,)

    def levels(self) -> list[dict[str, float]]:
        """Returns decreasing factors of red; green and blue are unchanged."""
        return [{"red": red, "green": 1.0, "blue": 1.0} for red in self.swept[1]]

    def change(self, images_NCHW: Tensor, strengths: Mapping[str, Tensor], pattern_N: Tensor, time_N: Tensor) -> Tensor:
        """Returns images with a colour cast."""
        return images_NCHW * torch.cat([strengths[name] for name in self.strengths], dim=1)


class Saturation(StrengthOperation):
    """Scales the distance of each channel from the pixel's Rec. 601 luma."""

    name = "saturation"
    strengths = ("factor",)
    swept = ("factor", (0.8, 0.6, 0.4, 0.2, 0.0))
    channels = (3,)

    def change(self, images_NCHW: Tensor, strengths: Mapping[str, Tensor], pattern_N: Tensor, time_N: Tensor) -> Tensor:
        """Returns images with lower or higher saturation."""
        return adjust_saturation_with_gray_subtraction(images_NCHW, strengths["factor"].flatten())


class Hue(StrengthOperation):
    """Rotates the chroma plane of YIQ. Luma is unchanged."""

    name = "hue"
    strengths = ("degrees",)
    swept = ("degrees", (15, 30, 60, 90, 150))
    channels = (3,)

    def change(self, images_NCHW: Tensor, strengths: Mapping[str, Tensor], pattern_N: Tensor, time_N: Tensor) -> Tensor:
        """Returns images with rotated hues."""
        device = images_NCHW.device
        to_yiq = torch.tensor(_TO_YIQ, dtype=torch.float64, device=device)
        back = torch.linalg.inv(to_yiq).float()
        angle = strengths["degrees"].flatten() * (math.pi / 180)
        cos, sin, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
        turn_N33 = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).unflatten(1, (3, 3))
        matrix_N33 = back @ turn_N33 @ to_yiq.float()
        return (matrix_N33 @ images_NCHW.flatten(2)).view_as(images_NCHW)
