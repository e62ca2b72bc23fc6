"""Weights of a network that was trained on transposed pictures.

MATLAB stores columns first, so what it hands to Caffe as [W, H, C, N] arrives with rows and columns exchanged, for
training and for testing alike. Its kernels are the transposes of those for pictures as they are; so are the inputs of
the first inner product, which sees the last map unrolled.
"""

from __future__ import annotations

import math

from blear.errors import DataError
from blear.weights.found import Weights

_KERNEL, _MATRIX = 4, 2


def from_matlab(weights: Weights, where: str) -> Weights:
    """The same network for pictures as they are; what was reordered is listed in `reordered`.

    Kernels [n, c, h, w] become [n, c, w, h]. An inner product right after a convolution, in the order of the file, has
    its columns, one for each (channel, column, row), put into (channel, row, column); the map has to be square.

    Args:
        where: the file, for errors.

    Raises:
        DataError: the shape of the map before the first inner product cannot be told.
    """
    turned = Weights()
    turned.ignored = weights.ignored
    channels: int | None = None  # of the map that the next layer sees, while it is one
    for name, value in weights.items():
        turned[name] = value
        if value.dim() == _KERNEL:
            channels = value.shape[0] or None
            turned[name] = value.transpose(2, 3).contiguous()
        elif value.dim() == _MATRIX and channels is not None:
            rows, side = value.shape[0], _side(value.shape[1], channels, name, where)
            turned[name] = value.reshape(rows, channels, side, side).transpose(2, 3).reshape(rows, -1)
            channels = None
        else:
            continue
        turned.reordered.append(name)
    return turned


def _side(inputs: int, channels: int, name: str, where: str) -> int:
    side = math.isqrt(inputs // channels)
    if side * side * channels != inputs:
        what = f"{name} has {inputs} inputs, which are not {channels} square maps of the convolution before it"
        raise DataError(what, where, "convert this file where its network is known")
    return side
