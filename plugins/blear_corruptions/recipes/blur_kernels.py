"""Blur kernels of blind restoration, a kernel for each image, and the convolution with them.

Isotropic and anisotropic Gaussian, generalised Gaussian, plateau and sinc, as BasicSR defines them
(`basicsr/data/degradations.py`, version 1.4.2), which Real-ESRGAN, GFPGAN and RealBasicVSR use. k: rows and columns of
the largest kernel, odd.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from kornia.filters import filter2d
from torch import Tensor

from blear.contracts import Draws

GAUSSIAN, PLATEAU, SINC, NONE = range(4)
"""Kinds. A plain Gaussian is a generalised one with beta 1, an isotropic one has two equal sigmas."""


@dataclass(frozen=True)
class KernelDraws:
    """Parameters of kernels; tensors of one shape.

    Attributes:
        kind: int64, one of the four.
        size: odd number of pixels; the kernel is 0 beyond.
        sigma_x, sigma_y: in pixels, along and across the direction `theta` (radians).
        beta: shape of a generalised Gaussian or of a plateau.
        cutoff: of a sinc, radians per pixel; pi keeps everything.
    """

    kind: Tensor
    size: Tensor
    sigma_x: Tensor
    sigma_y: Tensor
    theta: Tensor
    beta: Tensor
    cutoff: Tensor

    def with_prefix(self, prefix: str) -> Draws:
        """Returns draws whose names begin with the prefix."""
        return {f"{prefix}{name}": value for name, value in vars(self).items()}

    @classmethod
    def from_draws(cls, draws: Draws, prefix: str) -> Self:
        """From draws that `with_prefix` gave, made flat."""
        return cls(**{name: draws[f"{prefix}{name}"].flatten() for name in cls.__dataclass_fields__})


def kernels(draws: KernelDraws, k: int) -> Tensor:
    """Float32 [N, k, k], each with the sum 1; of `NONE` the unit impulse.

    Args:
        draws: of N kernels.
        k: rows and columns, odd, at least the largest size.
    """
    device = draws.size.device
    axis = torch.arange(k, device=device, dtype=torch.float32) - k // 2
    y, x = axis[:, None], axis
    size, sigma_x, sigma_y, theta, beta, cutoff = (
        value.float()[:, None, None]
        for value in (draws.size, draws.sigma_x, draws.sigma_y, draws.theta, draws.beta, draws.cutoff)
    )
    along, across = x * theta.cos() + y * theta.sin(), y * theta.cos() - x * theta.sin()
    square = (along / sigma_x) ** 2 + (across / sigma_y) ** 2
    shaped = square**beta
    radius = (x**2 + y**2).sqrt()
    ring = torch.special.bessel_j1(cutoff * radius) * cutoff / (2 * math.pi * torch.where(radius > 0, radius, 1))
    kind = draws.kind[:, None, None]
    made = torch.where(kind == PLATEAU, 1 / (shaped + 1), torch.exp(-0.5 * shaped))
    made = torch.where(kind == SINC, torch.where(radius > 0, ring, cutoff**2 / (4 * math.pi)), made)
    made = torch.where(kind == NONE, (radius == 0).float(), made)
    made = torch.where((x.abs() <= size // 2) & (y.abs() <= size // 2), made, 0)
    return made / made.sum(dim=(1, 2), keepdim=True)


def convolve(images_NCHW: Tensor, kernels_Nkk: Tensor) -> Tensor:
    """Each image with its own kernel, one depthwise convolution; the border is repeated.

    A correlation, as OpenCV's `filter2D` and BasicSR's `filter2D` are.
    """
    return filter2d(images_NCHW, kernels_Nkk, "replicate")
