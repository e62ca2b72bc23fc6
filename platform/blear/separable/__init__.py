"""Separable linear operations on batches of clips, with a different operator for each sample.

An operation is separable if it is linear and acts on the rows and on the columns of an image independently: resize,
Gaussian blur, box blur, and chains of these. It is the product A X C^T of an image X [H, W] with one matrix A [P, H]
for the rows' axis and one matrix C [Q, W] for the columns' axis.

The matrices are made once, in float64, by applying the reference operation to the identity (`from_operation`). A
`SeparableBank` holds K such operators for one size of frames and applies them to a batch in which each sample has its
own operator. On a GPU this takes a few batched matrix products. On a CPU the samples of one operator are processed
together, and matrices are cut into bands along their diagonal, so that zeros are not multiplied.

    bank = down_up_bank([2, 4, 8], height=96, width=96)
    degraded = bank(frames_BTCHW, index_B)  # index_B [B] in 0..2 selects the factor of each sample

Shapes: K operators of a bank, N planes, P x Q rows and columns of the result; other letters as in `blear.contracts`.
"""

from __future__ import annotations

from blear.separable.banded import apply_grouped
from blear.separable.bank import SeparableBank, apply, down_up_bank
from blear.separable.matrices import Interpolation, Steps, compose, down_up, from_operation, resize
from blear.separable.operators import Operators, apply_operators, fused

__all__ = [
    "Interpolation",
    "Operators",
    "SeparableBank",
    "Steps",
    "apply",
    "apply_grouped",
    "apply_operators",
    "compose",
    "down_up",
    "down_up_bank",
    "from_operation",
    "fused",
    "resize",
]
