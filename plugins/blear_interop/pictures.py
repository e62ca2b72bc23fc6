"""One picture through `blear.degrade`, in the layouts of other frameworks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

import blear

Chain = Sequence[Mapping[str, Any]]
"""A list of degradations, as in a job's stage: `[{"use": "downscale", "factor": 3}]`."""


class Degrader:
    """Applies a chain to single pictures or clips, with the draws of a number that the caller gives.

    Args:
        degradations: the chain.
        seed: seed of the random numbers.
        plugins: paths of one-file plugins that the chain uses.

    `keep_places` of a call refuses degradations that move the content of pictures (JobError).

    Raises:
        JobError: an entry is malformed. A wrong component or parameter is an error at the first picture, on whose size
            it may depend.
    """

    def __init__(self, degradations: Chain, seed: int = 0, plugins: Sequence[str] = ()) -> None:
        self.degradations, self.seed, self.plugins = [dict(entry) for entry in degradations], seed, tuple(plugins)
        blear.degrade(np.zeros((0, 1, 1), np.uint8), self.degradations)  # only checks the entries

    def picture(self, picture_CHW: Tensor, number: int, keep_places: bool = False) -> Tensor:
        """A degraded picture [C, H, W] of the same dtype, uint8 or float in [0, 1]."""
        return self._degrade(picture_CHW[None], number, keep_places)[0]

    def pictures(self, pictures_NCHW: Tensor, number: int, keep_places: bool = False) -> Tensor:
        """Degraded pictures [N, C, H, W], each with draws of its own."""
        return self._degrade(pictures_NCHW, number, keep_places)

    def clip(self, frames_TCHW: Tensor, number: int, keep_places: bool = False) -> Tensor:
        """A degraded clip [T, C, H, W]; its frames are degraded alike."""
        return self._degrade(frames_TCHW[None], number, keep_places)[0]

    def _degrade(self, images: Tensor, number: int, keep_places: bool) -> Tensor:
        degraded = blear.degrade(
            images,
            self.degradations,
            seed=self.seed,
            epoch=number,
            plugins=self.plugins,
            keep_places=keep_places,
        )
        return torch.as_tensor(degraded)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.degradations})"
