"""Temporal shifts: channels of a feature map that are taken from another frame. They have no parameters.

`causal_stage` is VTT's (spec section 3.2: first quarter, from the frame before, on the trunk between stages);
`residual_bidirectional` is the published reference (Lin, Gan, Han, TSM, ICCV 2019: an eighth each way, in front of the
first convolution of each residual block).
"""

from __future__ import annotations

import torch
from torch import Tensor

CAUSAL_DIVISOR = 4
BIDIRECTIONAL_DIVISOR = 8


def causal(maps_BTCHW: Tensor, zero_fill: bool = False) -> Tensor:
    """The first C // 4 channels come from frame t - 1, the others stay; the input is left as it is.

    Args:
        zero_fill: frame 0 gets zeros in those channels; otherwise it keeps its own.
    """
    moved = maps_BTCHW.shape[2] // CAUSAL_DIVISOR
    first = maps_BTCHW[:, :1, :moved]
    before = torch.cat([torch.zeros_like(first) if zero_fill else first, maps_BTCHW[:, :-1, :moved]], dim=1)
    return torch.cat([before, maps_BTCHW[:, :, moved:]], dim=2)


def bidirectional(maps_BTCHW: Tensor) -> Tensor:
    """The first C // 8 channels come from frame t + 1, the next C // 8 from t - 1; zeros where there is none."""
    moved = maps_BTCHW.shape[2] // BIDIRECTIONAL_DIVISOR
    ahead, back = maps_BTCHW[:, 1:, :moved], maps_BTCHW[:, :-1, moved : 2 * moved]
    nothing = torch.zeros_like(maps_BTCHW[:, :1, :moved])
    shifted = [torch.cat([ahead, nothing], dim=1), torch.cat([nothing, back], dim=1), maps_BTCHW[:, :, 2 * moved :]]
    return torch.cat(shifted, dim=2)
