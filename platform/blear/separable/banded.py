"""The CPU engine of separable operations: samples grouped by operator, matrices cut into bands.

Matrices of resize and blur have their non-zero values near the diagonal. Each matrix is cut into bands of rows, and
each band keeps only its range of non-zero columns, so that the products contain few multiplications by zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blear.separable.matrices import Steps

_MOST_BANDS = 8
_ROWS_COST, _COLUMNS_COST = 400, 1200  # overhead of a product along each axis, in multiplications per image line


@dataclass(frozen=True)
class Band:
    """A range of rows of a matrix without the zeros on either side.

    Attributes:
        outputs: rows of the full matrix.
        inputs: columns of the full matrix that are not all zero in these rows.
        matrix: the values, [len(outputs), len(inputs)].
    """

    outputs: slice
    inputs: slice
    matrix: Tensor


Bands = tuple[list[Band], ...]
"""The bands of each step of one axis."""


def apply_grouped(frames_BTCHW: Tensor, rows: Sequence[Steps], columns: Sequence[Steps], index_B: Tensor) -> Tensor:
    """Applies each sample's operator with one set of products for each operator that occurs. For the CPU.

    Args:
        frames_BTCHW: floating point frames.
        rows, columns: for each of the K operators its matrices, of the frames' device and dtype; empty: the identity.
        index_B: int64, the operator of each sample.

    Returns:
        Frames [B, T, C, P, Q], equal to those of `apply` except for rounding.
    """
    return apply_bands(frames_BTCHW, *cut_bands(rows, columns), index_B)


def cut_bands(rows: Sequence[Steps], columns: Sequence[Steps]) -> tuple[list[Bands], list[Bands]]:
    """Cuts the matrices of K operators into bands; returns those of the rows' axis and those of the columns' axis."""
    costs = ((rows, _ROWS_COST), (columns, _COLUMNS_COST))
    row_bands, column_bands = (
        [tuple(_best_cut(step, cost) for step in steps) for steps in axis] for axis, cost in costs
    )
    return row_bands, column_bands


def _best_cut(matrix: Tensor, cost: int) -> list[Band]:
    """The number of bands with the least work: multiplications plus `cost` for each product."""
    cuts = [_cut(matrix, parts) for parts in range(1, min(_MOST_BANDS, len(matrix)) + 1)]
    return min(cuts, key=lambda bands: sum(band.matrix.numel() + cost for band in bands))


def _cut(matrix: Tensor, parts: int) -> list[Band]:
    bands = []
    for part in range(parts):
        outputs = slice(len(matrix) * part // parts, len(matrix) * (part + 1) // parts)
        used = matrix[outputs].any(dim=0).nonzero().flatten().tolist() or [0]
        inputs = slice(used[0], used[-1] + 1)
        bands.append(Band(outputs, inputs, matrix[outputs, inputs].contiguous()))
    return bands


def apply_bands(frames_BTCHW: Tensor, rows: Sequence[Bands], columns: Sequence[Bands], index_B: Tensor) -> Tensor:
    """Applies each sample's operator, given as bands; arguments and result as in `apply_grouped`.

    A batch whose samples all have the same operator is processed without gathering and scattering.
    """
    batch, length, channels, height, width = frames_BTCHW.shape
    planes = frames_BTCHW.reshape(batch, length * channels, height, width)
    counts = torch.bincount(index_B, minlength=len(rows)).tolist()
    if batch in counts:
        k = counts.index(batch)
        # the identity must not return the input tensor itself
        chosen = planes.flatten(0, 1) if rows[k] or columns[k] else planes.flatten(0, 1).clone()
        whole = _joined(_operated(chosen, rows[k], columns[k]))
        return whole.reshape(batch, length, channels, *whole.shape[1:])
    out = _empty(planes, (batch, length * channels, _out_size(rows[0], height), _out_size(columns[0], width)))
    for k, samples in enumerate(index_B.argsort().split(counts)):
        if len(samples) == 0:
            continue
        first = 0
        for part in _operated(planes.index_select(0, samples).flatten(0, 1), rows[k], columns[k]):
            target = out[:, :, first : first + part.shape[1]]
            target.index_copy_(0, samples, part.reshape(len(samples), *target.shape[1:]))
            first += part.shape[1]
    return out.reshape(batch, length, channels, *out.shape[2:])


def _operated(planes_NHW: Tensor, rows: Bands, columns: Bands) -> list[Tensor]:
    """Returns the result as consecutive ranges of rows.

    The first step of the rows' axis comes first and its other steps come last, so that the columns' axis is processed
    in the small image.
    """
    parts = [planes_NHW]
    for bands in rows[:1]:
        parts = _along_rows(planes_NHW, bands)
    for bands in columns:
        parts = [_along_columns(_joined(parts), bands)]
    for bands in rows[1:]:
        parts = _along_rows(_joined(parts), bands)
    return parts


def _along_rows(planes_NHW: Tensor, bands: list[Band]) -> list[Tensor]:
    return [
        torch.bmm(band.matrix.expand(len(planes_NHW), *band.matrix.shape), planes_NHW[:, band.inputs]) for band in bands
    ]


def _along_columns(planes_NHW: Tensor, bands: list[Band]) -> Tensor:
    lines = planes_NHW.reshape(-1, planes_NHW.shape[-1])
    return _joined([lines[:, band.inputs] @ band.matrix.t() for band in bands]).unflatten(0, planes_NHW.shape[:2])


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _empty(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Allocates the result. NumPy requests huge pages and torch does not: a third less time for a large batch."""
    if like.device.type == "cpu" and like.dtype == torch.float32:
        return torch.from_numpy(np.empty(shape, np.float32))
    return like.new_empty(shape)


def _out_size(steps: Bands, size: int) -> int:
    return steps[-1][-1].outputs.stop if steps else size
