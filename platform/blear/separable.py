"""Separable linear operations on batches: every sample picks its own operator from a small bank of matrices.

Any operation that is linear and acts on rows and columns apart (resize, Gaussian or box blur, their chains) is
`A X C^T` with one matrix for the rows and one for the columns. The matrices are made once, in float64, by applying the
reference operation to the identity. A batch of mixed strengths is then a few batched matrix products on a GPU, one
launch each; on a CPU, the samples of one operator together, each matrix cut along its diagonal, so that no product is
larger than it must be.
Shapes: K operators of a bank, N planes, P x Q the output's rows and columns; the other letters as in `blear.contracts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from blear.errors import PluginError

Interpolation = Literal["bicubic", "bilinear", "area", "lanczos"]
Steps = tuple[Tensor, ...]
"""One axis of an operator: matrices that act in turn, the first one first."""

_MOST_BANDS = 8
_ROWS_COST, _COLUMNS_COST = 400, 1200  # of a product along each axis, in multiplications for each line of the image


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
    whose weights are renormalised instead of mirrored. "lanczos" (three lobes, antialiased) is Pillow's in exact
    arithmetic. "area" averages what each output sample covers.
    """
    if interpolation == "lanczos":
        return _lanczos(size, out)

    def along_rows(image: Tensor) -> Tensor:
        shape = (out, image.shape[-1])
        if interpolation == "area":
            return interpolate(image, size=shape, mode="area")
        return interpolate(image, size=shape, mode=interpolation, antialias=True, align_corners=False)

    return from_operation(along_rows, size)


def _lanczos(size: int, out: int) -> Tensor:
    scale = max(size / out, 1.0)
    middles = (torch.arange(out, dtype=torch.float64)[:, None] + 0.5) * (size / out)
    places = torch.arange(size, dtype=torch.float64) + 0.5 - middles
    first, end = ((middles + side * 3 * scale + 0.5).floor() for side in (-1, 1))  # Pillow's window, whole pixels
    inside = (torch.arange(size) >= first) & (torch.arange(size) < end)
    at = places / scale
    weights = torch.where(inside & (at.abs() < 3), torch.sinc(at) * torch.sinc(at / 3), 0)
    return weights / weights.sum(dim=1, keepdim=True)


def down_up(
    size: int, factor: float, interpolation: Interpolation = "bicubic", enlarge: Interpolation = "bicubic"
) -> Steps:
    """Shrinks `size` samples to s = ceil(size / factor) and enlarges them back: float64 [s, size] and [size, s].

    Args:
        size: rows or columns of the frames.
        factor: at least 1, need not be whole; 1 gives the identity alone.
        interpolation, enlarge: how it shrinks, and how it enlarges.

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
        return (torch.eye(size, dtype=torch.float64),)
    return resize(size, small, interpolation), resize(small, size, enlarge)


def apply(frames_BTCHW: Tensor, rows_KPH: Tensor, columns_KQW: Tensor, index_B: Tensor) -> Tensor:
    """Frames after each sample's operator, [B, T, C, P, Q]; differentiable, no shape depends on the index.

    Args:
        frames_BTCHW: floating point frames.
        rows_KPH, columns_KQW: the bank, on the frames' device and of their dtype. Products follow torch's float32
            matmul precision (TF32 rounds to about 1e-3).
        index_B: int64, the operator of each sample.
    """
    batch, length, channels, height, width = frames_BTCHW.shape
    lines = frames_BTCHW.reshape(batch, length * channels * height, width)
    lines = lines @ columns_KQW.index_select(0, index_B).transpose(1, 2)
    planes = lines.reshape(batch, length * channels, height, -1)
    planes = rows_KPH.index_select(0, index_B).unsqueeze(1) @ planes
    return planes.reshape(batch, length, channels, planes.shape[-2], planes.shape[-1])


def apply_grouped(frames_BTCHW: Tensor, rows: Sequence[Steps], columns: Sequence[Steps], index_B: Tensor) -> Tensor:
    """As `apply`, one operator after another: no product is larger than its operator asks for. For the CPU.

    Args:
        rows, columns: for each of the K operators its steps, of the frames' device and dtype; none: the identity.
    """
    return _grouped(frames_BTCHW, *_bands(rows, columns), index_B)


@dataclass(frozen=True)
class _Band:
    """Some rows of a matrix, `matrix` [outputs, inputs] without the zeros on either side."""

    outputs: slice
    inputs: slice
    matrix: Tensor


_Bands = tuple[list[_Band], ...]
"""Of each step of an axis."""


def _bands(rows: Sequence[Steps], columns: Sequence[Steps]) -> tuple[list[_Bands], list[_Bands]]:
    costs = ((rows, _ROWS_COST), (columns, _COLUMNS_COST))
    down, across = ([tuple(_banded(step, cost) for step in steps) for steps in axis] for axis, cost in costs)
    return down, across


def _banded(matrix: Tensor, cost: int) -> list[_Band]:
    """A matrix whose values lie about its diagonal, cut where that saves more arithmetic than the calls cost."""
    cuts = [_cut(matrix, parts) for parts in range(1, min(_MOST_BANDS, len(matrix)) + 1)]
    return min(cuts, key=lambda bands: sum(band.matrix.numel() + cost for band in bands))


def _cut(matrix: Tensor, parts: int) -> list[_Band]:
    bands = []
    for part in range(parts):
        outputs = slice(len(matrix) * part // parts, len(matrix) * (part + 1) // parts)
        used = matrix[outputs].any(dim=0).nonzero().flatten().tolist() or [0]
        inputs = slice(used[0], used[-1] + 1)
        bands.append(_Band(outputs, inputs, matrix[outputs, inputs].contiguous()))
    return bands


def _grouped(frames_BTCHW: Tensor, rows: Sequence[_Bands], columns: Sequence[_Bands], index_B: Tensor) -> Tensor:
    """The samples of one operator together; where all have the same one, nothing is gathered or put back."""
    batch, length, channels, height, width = frames_BTCHW.shape
    planes = frames_BTCHW.reshape(batch, length * channels, height, width)
    counts = torch.bincount(index_B, minlength=len(rows)).tolist()
    if batch in counts:
        k = counts.index(batch)
        chosen = planes.flatten(0, 1) if rows[k] or columns[k] else planes.flatten(0, 1).clone()  # never the input
        whole = _joined(_operated(chosen, rows[k], columns[k]))
        return whole.reshape(batch, length, channels, *whole.shape[1:])
    done = _empty(planes, (batch, length * channels, _outputs(rows[0], height), _outputs(columns[0], width)))
    for k, which in enumerate(index_B.argsort().split(counts)):
        if len(which) == 0:
            continue
        first = 0
        for part in _operated(planes.index_select(0, which).flatten(0, 1), rows[k], columns[k]):
            place = done[:, :, first : first + part.shape[1]]
            place.index_copy_(0, which, part.reshape(len(which), *place.shape[1:]))
            first += part.shape[1]
    return done.reshape(batch, length, channels, *done.shape[2:])


def _operated(planes_NHW: Tensor, rows: _Bands, columns: _Bands) -> list[Tensor]:
    """The result's bands of rows. Rows shrink first and grow back last: columns are worked on in the small image."""
    parts = [planes_NHW]
    for bands in rows[:1]:
        parts = _along_rows(planes_NHW, bands)
    for bands in columns:
        parts = [_along_columns(_joined(parts), bands)]
    for bands in rows[1:]:
        parts = _along_rows(_joined(parts), bands)
    return parts


def _along_rows(planes_NHW: Tensor, bands: list[_Band]) -> list[Tensor]:
    return [
        torch.bmm(band.matrix.expand(len(planes_NHW), *band.matrix.shape), planes_NHW[:, band.inputs]) for band in bands
    ]


def _along_columns(planes_NHW: Tensor, bands: list[_Band]) -> Tensor:
    lines = planes_NHW.reshape(-1, planes_NHW.shape[-1])
    return _joined([lines[:, band.inputs] @ band.matrix.t() for band in bands]).unflatten(0, planes_NHW.shape[:2])


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _empty(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Memory for a result; NumPy asks for huge pages, torch does not: a third of the time of a large batch."""
    if like.device.type == "cpu" and like.dtype == torch.float32:
        return torch.from_numpy(np.empty(shape, np.float32))
    return like.new_empty(shape)


def _outputs(steps: _Bands, size: int) -> int:
    return steps[-1][-1].outputs.stop if steps else size


class SeparableBank:
    """K operators for frames of one size, in float32.

    On a CPU they act one after another (`apply_grouped`). Elsewhere, and under `torch.compile`, they act at once
    (`apply`): through two stacks of matrices padded to the largest small image where that is less work than one stack
    of whole operators. The stacks stay on the device where they were last used.

    Args:
        rows: for each operator the steps that make H rows P; an identity costs nothing on a CPU.
        columns: for each operator the steps that make W columns Q.
    """

    def __init__(self, rows: Sequence[Steps], columns: Sequence[Steps]) -> None:
        self.rows = [_without_identities(steps) for steps in rows]
        self.columns = [_without_identities(steps) for steps in columns]
        self.bands = _bands(self.rows, self.columns)
        self.stacks = _stacks(rows, columns)

    def to(self, device: torch.device) -> None:
        """Moves the stacks; nothing happens when they lie there already."""
        if self.stacks[0][0].device != device:
            self.stacks = [(rows.to(device), columns.to(device)) for rows, columns in self.stacks]

    def __call__(self, frames_BTCHW: Tensor, index_B: Tensor) -> Tensor:
        """Frames [B, T, C, P, Q] of the same dtype; products run in float32, so that half precision loses nothing."""
        frames = frames_BTCHW.to(torch.float32)
        if frames.device.type == "cpu" and not torch.compiler.is_compiling():
            return _grouped(frames, *self.bands, index_B).to(frames_BTCHW.dtype)
        self.to(frames.device)
        for rows_KPH, columns_KQW in self.stacks:
            frames = apply(frames, rows_KPH, columns_KQW, index_B)
        return frames.to(frames_BTCHW.dtype)

    def operators(self, index_B: Tensor) -> Operators:
        """Each sample's matrices, as `contracts.Separable` gives them, on the index's device."""
        self.to(index_B.device)
        rows, columns = zip(*self.stacks, strict=True)
        return [stack.index_select(0, index_B) for stack in rows], [s.index_select(0, index_B) for s in columns]


Operators = tuple[Sequence[Tensor], Sequence[Tensor]]
"""Matrices that act in turn, float32 [B, out, in]: those along the rows' axis, those along the columns' axis."""


def apply_operators(frames_BTCHW: Tensor, operators: Operators) -> Tensor:
    """Frames after matrices of their own, in float32, of the frames' dtype; both axes shrink before either grows."""
    batch, length, channels, height, width = frames_BTCHW.shape
    planes = frames_BTCHW.reshape(batch, length * channels, height, width).to(torch.float32)
    rows, columns = (fused(steps) for steps in operators)
    for number in range(max(len(rows), len(columns))):
        if number < len(rows):
            planes = rows[number].unsqueeze(1) @ planes
        if number < len(columns):
            lines = planes.flatten(1, 2) @ columns[number].mT
            planes = lines.reshape(*planes.shape[:3], lines.shape[-1])
    return planes.reshape(batch, length, channels, *planes.shape[2:]).to(frames_BTCHW.dtype)


def fused(steps: Sequence[Tensor]) -> list[Tensor]:
    """One matrix for all steps; two where they pass through a waist of at most half of both ends."""
    steps = list(steps)
    waists = [step.shape[-2] for step in steps[:-1]]
    narrow = min(waists, default=0)
    if waists and 2 * narrow <= min(steps[0].shape[-1], steps[-1].shape[-2]):
        cut = waists.index(narrow) + 1
        # from the waist outwards, so that every product has a narrow side
        before = reduce(lambda done, earlier: done @ earlier, reversed(steps[:cut]))
        return [before, reduce(lambda done, later: later @ done, steps[cut:])]
    return [reduce(lambda done, later: later @ done, steps)]


def down_up_bank(
    factors: Sequence[float],
    height: int,
    width: int,
    interpolation: Interpolation = "bicubic",
    enlarge: Interpolation = "bicubic",
) -> SeparableBank:
    """A bank whose operator k is down-up by `factors[k]` on frames of height x width; raises as `down_up` does."""
    return SeparableBank(
        [down_up(height, factor, interpolation, enlarge) for factor in factors],
        [down_up(width, factor, interpolation, enlarge) for factor in factors],
    )


def _without_identities(steps: Steps) -> Steps:
    return tuple(
        matrix.to(torch.float32)
        for matrix in steps
        if matrix.shape[0] != matrix.shape[1] or not torch.equal(matrix, torch.eye(len(matrix), dtype=matrix.dtype))
    )


def _stacks(rows: Sequence[Steps], columns: Sequence[Steps]) -> list[tuple[Tensor, Tensor]]:
    """[(rows [K, P, H], columns [K, Q, W])], float32: one for all steps, or two where all shrink to half or less."""
    if all(
        len(steps) == 2 and 2 * len(steps[0]) <= min(steps[0].shape[1], len(steps[1])) for steps in (*rows, *columns)
    ):
        return [(_padded([steps[i] for steps in rows]), _padded([steps[i] for steps in columns])) for i in (0, 1)]
    return [(_padded([compose(*steps) for steps in rows]), _padded([compose(*steps) for steps in columns]))]


def _padded(matrices: Sequence[Tensor]) -> Tensor:
    """Matrices of different sizes as one float32 stack, zeros below and to the right."""
    height, width = (max(matrix.shape[axis] for matrix in matrices) for axis in (0, 1))
    filled = [pad(matrix, (0, width - matrix.shape[1], 0, height - matrix.shape[0])) for matrix in matrices]
    return torch.stack(filled).to(torch.float32)
