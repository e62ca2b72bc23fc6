"""Matrices of one-dimensional operations: resize, shrink and enlarge, and any linear operation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from blear.errors import PluginError

Interpolation = Literal["bicubic", "bilinear", "area", "lanczos", "matlab"]
Steps = tuple[Tensor, ...]
"""One axis of an operator: matrices [out, in] in the order in which they are applied."""


def from_operation(operation: Callable[[Tensor], Tensor], size: int) -> Tensor:
    """Returns the matrix of a linear operation along the rows' axis, float64 [P, size].

    Args:
        operation: maps an image [1, 1, size, size] to [1, 1, P, size]; must treat every column alike.
        size: rows of the input.
    """
    return operation(torch.eye(size, dtype=torch.float64)[None, None])[0, 0]


def compose(*matrices: Tensor) -> Tensor:
    """Returns the product of matrices that are applied in the given order, the first one first."""
    return reduce(lambda product, matrix: matrix @ product, matrices)


def resize(size: int, out: int, interpolation: Interpolation = "bicubic") -> Tensor:
    """Returns the matrix that resizes `size` pixels to `out` pixels, float64 [out, size].

    Args:
        size: pixels of the input.
        out: pixels of the output.
        interpolation: "bicubic" (a = -0.5) and "bilinear" are torch's antialiased `interpolate`; they equal MATLAB's
            `imresize` except at the borders, where weights are renormalised instead of mirrored. "lanczos" is Pillow's
            antialiased filter with three lobes in exact arithmetic. "area" is the mean of the covered input pixels.
            "matlab" is MATLAB's bicubic `imresize` to a given size, mirrored borders included.
    """
    if interpolation == "lanczos":
        return _lanczos(size, out)
    if interpolation == "matlab":
        return _bicubic_mirrored(size, out)

    def along_rows(image: Tensor) -> Tensor:
        shape = (out, image.shape[-1])
        if interpolation == "area":
            return interpolate(image, size=shape, mode="area")
        return interpolate(image, size=shape, mode=interpolation, antialias=True, align_corners=False)

    return from_operation(along_rows, size)


def _lanczos(size: int, out: int) -> Tensor:
    scale = max(size / out, 1.0)
    centres = (torch.arange(out, dtype=torch.float64)[:, None] + 0.5) * (size / out)
    offsets = torch.arange(size, dtype=torch.float64) + 0.5 - centres
    first, end = ((centres + side * 3 * scale + 0.5).floor() for side in (-1, 1))  # Pillow's window, whole pixels
    inside = (torch.arange(size) >= first) & (torch.arange(size) < end)
    x = offsets / scale
    weights = torch.where(inside & (x.abs() < 3), torch.sinc(x) * torch.sinc(x / 3), 0)
    return weights / weights.sum(dim=1, keepdim=True)


def _bicubic_mirrored(size: int, out: int) -> Tensor:
    """Cubic kernel with a = -0.5, widened for shrinking; the input continues mirrored, border pixels repeated."""
    scale = max(size / out, 1.0)
    centres = (torch.arange(out, dtype=torch.float64)[:, None] + 0.5) * (size / out) - 0.5
    positions = (centres - 2 * scale).floor() + torch.arange(math.ceil(4 * scale) + 2)
    x = ((centres - positions) / scale).abs()
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = torch.where(x <= 1, near, torch.where(x < 2, far, 0))
    periodic = positions.long() % (2 * size)
    mirrored = torch.minimum(periodic, 2 * size - 1 - periodic)
    matrix = torch.zeros(out, size, dtype=torch.float64)
    return matrix.scatter_add_(1, mirrored, weights / weights.sum(dim=1, keepdim=True))


def down_up(
    size: int, factor: float, interpolation: Interpolation = "bicubic", enlarge: Interpolation = "bicubic"
) -> Steps:
    """Returns the matrices that shrink `size` pixels to s = ceil(size / factor) and enlarge them to `size` again.

    Args:
        size: rows or columns of the frames.
        factor: at least 1; need not be an integer.
        interpolation: interpolation of the shrinking step.
        enlarge: interpolation of the enlarging step.

    Returns:
        float64 [s, size] and [size, s]; only the identity [size, size] where s = size.

    Raises:
        PluginError: the factor is below 1, not finite, or leaves less than one pixel.
    """
    if not math.isfinite(factor) or factor < 1:
        raise PluginError(f"a factor of {factor:g} does not shrink", "down_up", "give a finite factor of at least 1")
    if factor > size:
        what = f"a factor of {factor:g} leaves less than one pixel of {size}"
        raise PluginError(what, "down_up", f"give a factor of at most {size}, or larger frames")
    small = math.ceil(size / factor - 1e-9)  # tolerance for rounding: 96 / (96 / 7) is 7
    if small == size:
        return (torch.eye(size, dtype=torch.float64),)
    return resize(size, small, interpolation), resize(small, size, enlarge)
