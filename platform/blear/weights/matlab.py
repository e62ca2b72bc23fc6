"""Converts the weights of a network that was trained on transposed images (MATLAB with Caffe).

MATLAB stores arrays column by column. An image that MATLAB passes to Caffe as [W, H, C, N] therefore arrives with rows
and columns exchanged, in training and in testing. The kernels of such a network are the transposes of the kernels for
upright images. The same holds for the inputs of the first inner product, which are a flattened feature map.
"""

from __future__ import annotations

import math

from blear.errors import DataError
from blear.weights.state_dict import StateDict

_KERNEL, _MATRIX = 4, 2


def from_matlab(weights: StateDict, where: str) -> StateDict:
    """The weights of the equal network for upright images; `reordered` lists the tensors that were changed.

    Kernels [n, c, h, w] are transposed to [n, c, w, h]. Of an inner product that follows a convolution, in the order of
    the file, the columns are reordered from (channel, column, row) to (channel, row, column).

    Args:
        where: the file, for error messages.

    Raises:
        DataError: the feature map before an inner product is not square, so its shape is unknown.
    """
    converted = StateDict()
    converted.ignored = weights.ignored
    channels: int | None = None  # of the feature map that the next layer gets; None after an inner product
    for name, value in weights.items():
        converted[name] = value
        if value.dim() == _KERNEL:
            channels = value.shape[0] or None
            converted[name] = value.transpose(2, 3).contiguous()
        elif value.dim() == _MATRIX and channels is not None:
            rows, side = value.shape[0], _map_side(value.shape[1], channels, name, where)
            converted[name] = value.reshape(rows, channels, side, side).transpose(2, 3).reshape(rows, -1)
            channels = None
        else:
            continue
        converted.reordered.append(name)
    return converted


def _map_side(inputs: int, channels: int, name: str, where: str) -> int:
    """The side of the square feature map with so many channels and values."""
    side = math.isqrt(inputs // channels)
    if side * side * channels != inputs:
        what = f"{name} has {inputs} inputs, which are not {channels} square maps of the convolution before it"
        raise DataError(what, where, "transpose the weights with the code that defines the network, and save them")
    return side
