"""Fixed bilinear upsampling of one-channel maps, and the crop to a reference size (spec section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d


class Upsample(nn.Module):
    """Maps [N, 1, h, w] -> [N, 1, f (h + 1), f (w + 1)], cropped to a reference height and width.

    A transposed convolution with kernel 2f and stride f, without padding. Its bilinear weights (Caffe's filler) are a
    buffer, not parameters. With factor 1 the maps are only cropped.

    Args:
        factor: f, 1 or an even number.
        aligned: crop the centre, with offset ceil(excess / 2); otherwise the top left.
    """

    kernel: Tensor

    def __init__(self, factor: int, *, aligned: bool) -> None:
        super().__init__()
        self.factor, self.aligned = factor, aligned
        self.register_buffer("kernel", bilinear(factor)[None, None], persistent=False)

    def forward(self, maps_N1HW: Tensor, height: int, width: int) -> Tensor:
        """Returns maps [N, 1, height, width]."""
        if self.factor > 1:
            maps_N1HW = conv_transpose2d(maps_N1HW, self.kernel.to(maps_N1HW.dtype), stride=self.factor)
        return crop(maps_N1HW, height, width, aligned=self.aligned)


def bilinear(factor: int) -> Tensor:
    """Returns Caffe's bilinear filler for a kernel of 2 * `factor`, float32 [2f, 2f]. `factor` is even."""
    place = torch.arange(2 * factor) / factor
    weights = 1 - (place - (2 * factor - 1) / (2 * factor)).abs()
    return torch.outer(weights, weights)


def enlarged(pixels: int, factor: int) -> int:
    """Returns the rows (columns) of an upsampled map before the crop."""
    return factor * (pixels + 1) if factor > 1 else pixels


def offset(pixels: int, reference: int, *, aligned: bool) -> int:
    """Returns the first row (column) of the crop from `pixels` to `reference`; ceil(excess / 2) for an odd excess."""
    return -(-(pixels - reference) // 2) if aligned else 0


def crop(maps_NCHW: Tensor, height: int, width: int, *, aligned: bool) -> Tensor:
    """Crops maps to [N, C, height, width]."""
    top = offset(maps_NCHW.shape[-2], height, aligned=aligned)
    left = offset(maps_NCHW.shape[-1], width, aligned=aligned)
    return maps_NCHW[..., top : top + height, left : left + width]
