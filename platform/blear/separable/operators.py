"""Operators as tensors: one matrix for each sample and step, as `contracts.Separable.operators` returns them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

Operators = tuple[Sequence[Tensor], Sequence[Tensor]]
"""Matrices of the rows' axis and of the columns' axis, float32 [B, out, in], each in the order of application."""


def apply_operators(frames_BTCHW: Tensor, operators: Operators) -> Tensor:
    """Applies to each sample its own matrices, in float32.

    Steps of both axes alternate, so that both axes shrink before either is enlarged.

    Returns:
        Frames [B, T, C, P, Q] of the input's dtype.
    """
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
    """Multiplies the steps of one axis to one matrix, or to two matrices with a small size between them.

    There are two where the smallest size between steps (the waist) is at most half of the input's and the output's
    size: two narrow products then cost less than one full product.
    """
    steps = list(steps)
    waists = [step.shape[-2] for step in steps[:-1]]
    narrow = min(waists, default=0)
    if waists and 2 * narrow <= min(steps[0].shape[-1], steps[-1].shape[-2]):
        cut = waists.index(narrow) + 1
        # from the waist outwards, so that every product has a narrow side
        before = reduce(lambda product, earlier: product @ earlier, reversed(steps[:cut]))
        return [before, reduce(lambda product, later: later @ product, steps[cut:])]
    return [reduce(lambda product, later: later @ product, steps)]
