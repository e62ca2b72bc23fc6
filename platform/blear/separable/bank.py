"""A bank of separable operators for frames of one size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from blear.separable.banded import apply_bands, cut_bands
from blear.separable.matrices import Interpolation, Steps, compose, down_up
from blear.separable.operators import Operators


def apply(frames_BTCHW: Tensor, rows_KPH: Tensor, columns_KQW: Tensor, index_B: Tensor) -> Tensor:
    """Applies to each sample its own operator; differentiable. No shape depends on the values of the index.

    Args:
        frames_BTCHW: floating point frames.
        rows_KPH, columns_KQW: matrices of K operators, on the frames' device and of their dtype. Products follow
            torch's float32 matmul precision (TF32 rounds to about 1e-3).
        index_B: int64, the operator of each sample.

    Returns:
        Frames [B, T, C, P, Q].
    """
    batch, length, channels, height, width = frames_BTCHW.shape
    lines = frames_BTCHW.reshape(batch, length * channels * height, width)
    lines = lines @ columns_KQW.index_select(0, index_B).transpose(1, 2)
    planes = lines.reshape(batch, length * channels, height, -1)
    planes = rows_KPH.index_select(0, index_B).unsqueeze(1) @ planes
    return planes.reshape(batch, length, channels, planes.shape[-2], planes.shape[-1])


class SeparableBank:
    """K operators for frames of one size, in float32.

    On a CPU the samples of one operator are processed together (`apply_grouped`). On other devices, and under
    `torch.compile`, all samples are processed together (`apply`), with matrices padded to one size. Where every
    operator shrinks to half the size or less and enlarges again, there are two padded stacks, one for each step,
    because that is less work than one stack of full operators. The stacks stay on the device of their last use.

    Args:
        rows: for each operator the matrices that turn H rows into P. An identity costs nothing on a CPU.
        columns: for each operator the matrices that turn W columns into Q.
    """

    def __init__(self, rows: Sequence[Steps], columns: Sequence[Steps]) -> None:
        self.rows = [_without_identities(steps) for steps in rows]
        self.columns = [_without_identities(steps) for steps in columns]
        self.bands = cut_bands(self.rows, self.columns)
        self.stacks = _stacks(rows, columns)

    def to(self, device: torch.device) -> None:
        """Moves the stacks to a device, unless they are there already."""
        if self.stacks[0][0].device != device:
            self.stacks = [(rows.to(device), columns.to(device)) for rows, columns in self.stacks]

    def __call__(self, frames_BTCHW: Tensor, index_B: Tensor) -> Tensor:
        """Applies the operator `index_B[b]` to sample b.

        Args:
            frames_BTCHW: floating point frames. Products are computed in float32 also for half precision.
            index_B: int64 in 0..K-1, on the frames' device.

        Returns:
            Frames [B, T, C, P, Q] of the input's dtype.
        """
        frames = frames_BTCHW.to(torch.float32)
        if frames.device.type == "cpu" and not torch.compiler.is_compiling():
            return apply_bands(frames, *self.bands, index_B).to(frames_BTCHW.dtype)
        self.to(frames.device)
        for rows_KPH, columns_KQW in self.stacks:
            frames = apply(frames, rows_KPH, columns_KQW, index_B)
        return frames.to(frames_BTCHW.dtype)

    def operators(self, index_B: Tensor) -> Operators:
        """Returns each sample's matrices on the index's device, in the form of `contracts.Separable.operators`."""
        self.to(index_B.device)
        rows, columns = zip(*self.stacks, strict=True)
        return [stack.index_select(0, index_B) for stack in rows], [s.index_select(0, index_B) for s in columns]


def down_up_bank(
    factors: Sequence[float],
    height: int,
    width: int,
    interpolation: Interpolation = "bicubic",
    enlarge: Interpolation = "bicubic",
) -> SeparableBank:
    """Returns a bank whose operator k shrinks frames of height x width by `factors[k]` and enlarges them again.

    Raises:
        PluginError: a factor is below 1, not finite, or leaves less than one pixel.
    """
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
    """Returns padded stacks [(rows [K, P, H], columns [K, Q, W])], float32: one, or one for each of two steps."""
    if all(
        len(steps) == 2 and 2 * len(steps[0]) <= min(steps[0].shape[1], len(steps[1])) for steps in (*rows, *columns)
    ):
        return [(_padded([steps[i] for steps in rows]), _padded([steps[i] for steps in columns])) for i in (0, 1)]
    return [(_padded([compose(*steps) for steps in rows]), _padded([compose(*steps) for steps in columns]))]


def _padded(matrices: Sequence[Tensor]) -> Tensor:
    """Stacks matrices of different sizes, float32, padded with zeros below and to the right."""
    height, width = (max(matrix.shape[axis] for matrix in matrices) for axis in (0, 1))
    filled = [pad(matrix, (0, width - matrix.shape[1], 0, height - matrix.shape[0])) for matrix in matrices]
    return torch.stack(filled).to(torch.float32)
