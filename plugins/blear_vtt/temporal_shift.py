"""Temporal shifts: some channels of a feature map are replaced by those of a neighbouring frame. No parameters.

`causal` is the shift of VTT (spec section 3.2): the first quarter of the channels comes from the previous frame, after
a stage of the trunk. `bidirectional` is the shift of TSM (Lin, Gan, Han, ICCV 2019): an eighth of the channels from
each neighbour, before the first convolution of each residual block.
"""

from __future__ import annotations

import torch
from torch import Tensor

CAUSAL_DIVISOR = 4
BIDIRECTIONAL_DIVISOR = 8


def causal(maps_BTCHW: Tensor, zero_fill: bool = False) -> Tensor:
    """Replaces the first C // 4 channels of frame t by those of frame t - 1. The input is not modified.

    Args:
        maps_BTCHW: feature maps [B, T, C, H, W].
        zero_fill: these channels of frame 0 are zeros; otherwise frame 0 keeps its values.
    """
    moved = maps_BTCHW.shape[2] // CAUSAL_DIVISOR
    first = maps_BTCHW[:, :1, :moved]
    before = torch.cat([torch.zeros_like(first) if zero_fill else first, maps_BTCHW[:, :-1, :moved]], dim=1)
    return torch.cat([before, maps_BTCHW[:, :, moved:]], dim=2)


def bidirectional(maps_BTCHW: Tensor) -> Tensor:
    """Takes the first C // 8 channels from frame t + 1 and the next C // 8 from frame t - 1; zeros beyond the clip."""
    moved = maps_BTCHW.shape[2] // BIDIRECTIONAL_DIVISOR
    ahead, back = maps_BTCHW[:, 1:, :moved], maps_BTCHW[:, :-1, moved : 2 * moved]
    nothing = torch.zeros_like(maps_BTCHW[:, :1, :moved])
    shifted = [torch.cat([ahead, nothing], dim=1), torch.cat([nothing, back], dim=1), maps_BTCHW[:, :, 2 * moved :]]
    return torch.cat(shifted, dim=2)
