"""Separable linear operations on batches: every sample picks its own operator from a small bank of matrices.

Any operation that is linear and acts on rows and columns apart (resize, Gaussian or box blur, their chains) is
`A X C^T` with one matrix for the rows and one for the columns. The matrices are made once, in float64, by applying the
reference operation to the identity; a batch of mixed strengths is then two batched matrix products.
Shapes: K operators of a bank, P x Q the output's rows and columns; the other letters as in `blear.contracts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from blear.errors import PluginError

Interpolation = Literal["bicubic", "bilinear", "area"]


def from_operation(operation: Callable[[Tensor], Tensor], size: int) -> Tensor:
    """Matrix of a linear operation along rows, float64 [P, size].

    Args:
        operation: maps an image [1, 1, size, size] to [1, 1, P, size]; must leave the columns alone.
        size: rows of its input.
    """
    return operation(torch.eye(size, dtype=torch.float64)[None, None])[0, 0]


def compose(*matrices: Tensor) -> Tensor:
    """One matrix that does what the given ones do in turn, the first one first."""
    return reduce(lambda done, following: following @ done, matrices)


def resize(size: int, out: int, interpolation: Interpolation = "bicubic") -> Tensor:
    """Matrix that resizes `size` samples to `out`, float64 [out, size].

    "bicubic" (a = -0.5) and "bilinear" are torch's antialiased `interpolate`: MATLAB's `imresize` but for the borders,
    whose weights are renormalised instead of mirrored. "area" averages what each output sample covers.
    """

    def along_rows(image: Tensor) -> Tensor:
        shape = (out, image.shape[-1])
        if interpolation == "area":
            return interpolate(image, size=shape, mode="area")
        return interpolate(image, size=shape, mode=interpolation, antialias=True, align_corners=False)

    return from_operation(along_rows, size)


def down_up(size: int, factor: float, interpolation: Interpolation = "bicubic") -> Tensor:
    """Matrix that shrinks `size` samples to ceil(size / factor) and enlarges them back, float64 [size, size].

    Args:
        size: rows or columns of the frames.
        factor: at least 1, need not be whole; 1 gives the identity.
        interpolation: how it shrinks; it always enlarges with bicubic.

    Raises:
        PluginError: the factor is below 1, not finite, or leaves less than one pixel.
    """
    if not math.isfinite(factor) or factor < 1:
        raise PluginError(f"a factor of {factor:g} does not shrink", "down_up", "give a finite factor of at least 1")
    if factor > size:
        what = f"a factor of {factor:g} leaves less than one pixel of {size}"
        raise PluginError(what, "down_up", f"give a factor of at most {size}, or larger frames")
    small = math.ceil(size / factor - 1e-9)  # 96 / (96 / 7) is 7, whatever the last bit says
    if small == size:
        return torch.eye(size, dtype=torch.float64)
    return compose(resize(size, small, interpolation), resize(small, size))


def apply(frames_BTCHW: Tensor, rows_KPH: Tensor, columns_KQW: Tensor, index_B: Tensor) -> Tensor:
    """Frames after each sample's operator, [B, T, C, P, Q] in the frames' dtype; differentiable, compile-friendly.

    Args:
        frames_BTCHW: floating point frames.
        rows_KPH, columns_KQW: the bank, on the frames' device. Products run in its dtype, so that half precision frames
            lose nothing; they follow torch's float32 matmul precision (TF32 rounds to about 1e-3).
        index_B: int64, the operator of each sample.
    """
    batch, length, channels, height, width = frames_BTCHW.shape
    lines = frames_BTCHW.to(columns_KQW.dtype).reshape(batch, length * channels * height, width)
    lines = lines @ columns_KQW.index_select(0, index_B).transpose(1, 2)
    planes = lines.reshape(batch, length * channels, height, -1)
    planes = rows_KPH.index_select(0, index_B).unsqueeze(1) @ planes
    return planes.reshape(batch, length, channels, planes.shape[-2], planes.shape[-1]).to(frames_BTCHW.dtype)


class SeparableBank:
    """K operators for frames of one size, kept as float32 on the device where they were last used.

    Args:
        rows: K matrices [P, H].
        columns: K matrices [Q, W].
    """

    def __init__(self, rows: Sequence[Tensor], columns: Sequence[Tensor]) -> None:
        self.rows_KPH = torch.stack(list(rows)).to(torch.float32)
        self.columns_KQW = torch.stack(list(columns)).to(torch.float32)

    def to(self, device: torch.device) -> None:
        """Moves the matrices; nothing happens when they lie there already."""
        if self.rows_KPH.device != device:
            self.rows_KPH, self.columns_KQW = self.rows_KPH.to(device), self.columns_KQW.to(device)

    def __call__(self, frames_BTCHW: Tensor, index_B: Tensor) -> Tensor:
        """`apply` with this bank."""
        self.to(frames_BTCHW.device)
        return apply(frames_BTCHW, self.rows_KPH, self.columns_KQW, index_B)


def down_up_bank(
    factors: Sequence[float], height: int, width: int, interpolation: Interpolation = "bicubic"
) -> SeparableBank:
    """A bank whose operator k is down-up by `factors[k]` on frames of height x width; raises as `down_up` does."""
    return SeparableBank(
        [down_up(height, factor, interpolation) for factor in factors],
        [down_up(width, factor, interpolation) for factor in factors],
    )
