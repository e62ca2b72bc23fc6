"""Loss of resolution: down-up by one factor or by a mixture (VLQR, data sections on the LQ set and the mixed set)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blear.contracts import BuildContext, ClipSpec, DrawKeys, Draws
from blear.separable import Interpolation, SeparableBank, down_up_bank
from blear_corruptions.params import DownscaleParams, ScaleMixParams

_SWEEP = (1, 2, 3, 4, 6, 8, 12, 16)


class DownUp:
    """Each clip shrunk by a factor of a mixture and enlarged back, all frames of a clip alike.

    Args:
        mixture: factor -> weight; factors of weight 0 are left out.
        interpolation: how frames shrink.
        frozen: draw without the epoch, so that a clip keeps its factor.
        clip: shape of the clips, if known: the operators are made at once and impossible factors refused.
        levels: what `levels()` answers.

    Raises:
        PluginError: a factor leaves less than one pixel, here or in `apply`.
    """

    def __init__(
        self,
        mixture: Mapping[float, float],
        interpolation: Interpolation,
        frozen: bool,
        clip: ClipSpec | None,
        levels: Sequence[Mapping[str, Any]],
    ) -> None:
        self.factors = [factor for factor, weight in mixture.items() if weight > 0]
        weights = np.array([mixture[factor] for factor in self.factors], dtype=np.float64)
        self._inner_edges = (np.cumsum(weights) / weights.sum())[:-1]  # the last edge is 1 whatever rounding says
        self._interpolation = interpolation
        self._frozen = frozen
        self._levels = levels
        self._banks: dict[tuple[int, int], SeparableBank] = {}
        if clip is not None:
            self._make_bank(clip.height, clip.width)

    def draw(self, keys: DrawKeys) -> Draws:
        """`index`: int64 [B] into `factors`."""
        keys = keys.frozen() if self._frozen else keys
        index_B = np.searchsorted(self._inner_edges, keys.uniform()[:, 0], side="right")
        return {"index": torch.from_numpy(index_B.astype(np.int64))}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Frames of the same shape, not clipped: bicubic overshoots a little."""
        height, width = frames_BTCHW.shape[-2:]
        if (height, width) not in self._banks:
            self._make_bank(height, width)
        return self._banks[height, width](frames_BTCHW, draws["index"])

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Parameters of each severity, mildest first."""
        return self._levels

    @torch.compiler.disable
    def _make_bank(self, height: int, width: int) -> None:
        self._banks[height, width] = down_up_bank(self.factors, height, width, self._interpolation)


def downscale(params: DownscaleParams, context: BuildContext) -> DownUp:
    """Builds `corruptions/downscale`; its levels are the factors of the VLQR study that the clip's size allows."""
    clip = context.clip
    possible = [factor for factor in _SWEEP if clip is None or factor <= min(clip.height, clip.width)]
    levels = [{"factor": factor, "interpolation": params.interpolation} for factor in possible]
    return DownUp({params.factor: 1.0}, params.interpolation, False, clip, levels)


def scale_mix(params: ScaleMixParams, context: BuildContext) -> DownUp:
    """Builds `corruptions/scale_mix`; its levels are its own factors, one at a time."""
    mixture = params.factors if isinstance(params.factors, dict) else dict.fromkeys(params.factors, 1.0)
    levels = [
        {"factors": [factor], "interpolation": params.interpolation}
        for factor in sorted(mixture)
        if mixture[factor] > 0
    ]
    return DownUp(mixture, params.interpolation, params.frozen_mix, context.clip, levels)
