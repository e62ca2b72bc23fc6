"""Multiply-accumulate operations (MACs) of a network."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def count_macs(network: nn.Module, frames_BTCHW: Tensor) -> int:
    """Counts the multiply-accumulates of convolutions, matrix products and attention for one input.

    Half of the operations that `torch.utils.flop_counter` counts. Biases, normalisations and activations are not
    counted.

    Args:
        network: the network, in evaluation mode.
        frames_BTCHW: the input.
    """
    # fused recurrent layers are one operation that the counter does not know
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of TF32 where the flag is set
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            network(frames_BTCHW)
    return int(counter.get_total_flops()) // 2
