"""Fixed bilinear enlargement of one-channel maps, and the crop to a reference (spec section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d


class Upsample(nn.Module):
    """Maps [N, 1, h, w] -> [N, 1, f (h + 1), f (w + 1)], cropped to a reference's height and width.

    A transposed convolution of kernel 2f and stride f without padding; its bilinear weights (Caffe's filler) are fixed
    and no parameters. Factor 1 only crops.

    Args:
        factor: f, 1 or even.
        aligned: keep the centre, at ceil(excess / 2); else the top left part.
    """

    kernel: Tensor

    def __init__(self, factor: int, *, aligned: bool) -> None:
        super().__init__()
        self.factor, self.aligned = factor, aligned
        self.register_buffer("kernel", bilinear(factor)[None, None], persistent=False)

    def forward(self, maps_N1HW: Tensor, height: int, width: int) -> Tensor:
        """Maps [N, 1, height, width]."""
        if self.factor > 1:
            maps_N1HW = conv_transpose2d(maps_N1HW, self.kernel.to(maps_N1HW.dtype), stride=self.factor)
        return crop(maps_N1HW, height, width, aligned=self.aligned)


def bilinear(factor: int) -> Tensor:
    """Caffe's bilinear filler of kernel 2 * `factor`, which is even: float32 [2f, 2f]."""
    place = torch.arange(2 * factor) / factor
    weights = 1 - (place - (2 * factor - 1) / (2 * factor)).abs()
    return torch.outer(weights, weights)


def enlarged(pixels: int, factor: int) -> int:
    """Rows (columns) before the crop."""
    return factor * (pixels + 1) if factor > 1 else pixels


def offset(pixels: int, reference: int, *, aligned: bool) -> int:
    """First row (column) of `reference` that is kept of `pixels`; an odd excess counts half up."""
    return -(-(pixels - reference) // 2) if aligned else 0


def crop(maps_NCHW: Tensor, height: int, width: int, *, aligned: bool) -> Tensor:
    """Maps [N, C, height, width]."""
    top = offset(maps_NCHW.shape[-2], height, aligned=aligned)
    left = offset(maps_NCHW.shape[-1], width, aligned=aligned)
    return maps_NCHW[..., top : top + height, left : left + width]
