"""A copy of a network that computes the same outputs in less time, for evaluation only."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from blear.plugin.memory_format import to_channels_last

M = TypeVar("M", bound=nn.Module)


def for_inference(module: M) -> M:
    """Returns a copy in evaluation mode, in channels-last order, with batch normalisations folded into convolutions.

    A 2-D convolution that a batch normalisation follows in an `nn.Sequential` absorbs it; other layers stay. Outputs
    equal those of the module up to float32 rounding.
    """
    own = copy.deepcopy(module).eval()
    for sequence in [one for one in own.modules() if type(one) is nn.Sequential]:
        for first, second in pairwise(list(sequence._modules.items())):  # named_children leaves out repetitions
            if type(first[1]) is nn.Conv2d and type(second[1]) is nn.BatchNorm2d:
                sequence.add_module(first[0], fuse_conv_bn_eval(first[1], second[1]))
                sequence.add_module(second[0], nn.Identity())
    to_channels_last(own)
    return own
