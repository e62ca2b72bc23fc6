"""Uniform random numbers for each clip, or for each frame of each clip."""

from __future__ import annotations

import torch
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys
from blear.errors import PluginError
from blear_corruptions.param_types import Per


def draws_per_clip(per: Per, context: BuildContext, name: str) -> int:
    """Returns the number of draws of one clip: 1, or the number of its frames.

    Raises:
        PluginError: each frame needs a draw, but the clip's length is unknown.
    """
    if per == "clip":
        return 1
    if context.clip is None:
        what = "needs the length of the clips for a draw in each frame"
        raise PluginError(what, name, "build it with a context that has `clip`, or set per: clip")
    return context.clip.length


def uniform_draws(keys: DrawKeys, draws: int, n: int) -> Tensor:
    """Returns uniform float64 in [0, 1), [B, draws, n]. The first draws of a long clip equal those of a short clip."""
    return torch.from_numpy(keys.uniform(draws * n)).unflatten(1, (draws, n))
