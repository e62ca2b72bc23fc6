"""Blur kernels of blind restoration, one kernel for each image, and the convolution with the kernels.

Isotropic and anisotropic Gaussian, generalised Gaussian, plateau and sinc, as in BasicSR 1.4.2
(`basicsr/data/degradations.py`), the library of Real-ESRGAN, GFPGAN and RealBasicVSR.
k: rows and columns of the largest kernel, odd.
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
"""Kinds of kernels. A plain Gaussian is a generalised one with beta 1; an isotropic one has two equal sigmas."""


@dataclass(frozen=True)
class KernelDraws:
    """Parameters of kernels, as tensors of one shape.

    Attributes:
        kind: int64, one of the four kinds.
        size: odd number of pixels; the kernel is 0 outside.
        sigma_x, sigma_y: in pixels, along and across the direction `theta`.
        theta: in radians.
        beta: shape of a generalised Gaussian or of a plateau.
        cutoff: cutoff frequency of a sinc in radians per pixel; pi keeps all frequencies.
    """

    kind: Tensor
    size: Tensor
    sigma_x: Tensor
    sigma_y: Tensor
    theta: Tensor
    beta: Tensor
    cutoff: Tensor

    def with_prefix(self, prefix: str) -> Draws:
        """Returns the parameters as draws whose names begin with the prefix."""
        return {f"{prefix}{name}": value for name, value in vars(self).items()}

    @classmethod
    def from_draws(cls, draws: Draws, prefix: str) -> Self:
        """Returns flattened parameters from the draws of `with_prefix`."""
        return cls(**{name: draws[f"{prefix}{name}"].flatten() for name in cls.__dataclass_fields__})


def kernels(draws: KernelDraws, k: int) -> Tensor:
    """Returns float32 kernels [N, k, k], each with the sum 1; for `NONE` the unit impulse.

    Args:
        draws: parameters of N kernels.
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
    """Filters each image with its own kernel in one depthwise convolution. The border is repeated.

    The operation is a correlation, as are OpenCV's and BasicSR's `filter2D`.
    """
    return filter2d(images_NCHW, kernels_Nkk, "replicate")
