"""Loss of resolution: down-up by one factor or by a mixture (VLQR, data sections on the LQ set and the mixed set)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blear.contracts import BuildContext, ClipSpec, DrawKeys, Draws, not_compiled
from blear.separable import Interpolation, Operators, SeparableBank, down_up_bank
from blear_corruptions.resolution.params import DownscaleParams, ScaleMixParams

_SWEEP = (1, 2, 3, 4, 6, 8, 12, 16)


class DownUp:
    """Each clip shrunk by a factor of a mixture and enlarged back, all frames of a clip alike.

    Args:
        mixtures: fraction of the stage's steps -> factor -> weight, in order; in lines between two fractions. Factors
            whose weights are all 0 are left out.
        kernels: how frames shrink, and how they are enlarged.
        frozen: draw without the epoch, so that a clip keeps its factor.
        clip: shape of the clips, if known: the operators are made at once and impossible factors refused.
        levels: what `levels()` answers.

    Raises:
        PluginError: a factor leaves less than one pixel, here or in `apply`.
    """

    def __init__(
        self,
        mixtures: Mapping[float, Mapping[float, float]],
        kernels: tuple[Interpolation, Interpolation],
        frozen: bool,
        clip: ClipSpec | None,
        levels: Sequence[Mapping[str, Any]],
    ) -> None:
        used = [factor for mixture in mixtures.values() for factor, weight in mixture.items() if weight > 0]
        self.factors = list(dict.fromkeys(used))
        self._times = list(mixtures)
        self._weights = np.array([[mixture.get(f, 0.0) for f in self.factors] for mixture in mixtures.values()])
        self._kernels = kernels
        self._frozen = frozen
        self._levels = levels
        self._banks: dict[tuple[int, int], SeparableBank] = {}
        if clip is not None:
            self._make_bank(clip.height, clip.width)

    def draw(self, keys: DrawKeys) -> Draws:
        """`index`: int64 [B] into `factors`."""
        keys = keys.frozen() if self._frozen else keys
        weights = np.array([np.interp(keys.progress, self._times, column) for column in self._weights.T])
        inner_edges = (np.cumsum(weights) / weights.sum())[:-1]  # the last edge is 1 whatever rounding says
        index_B = np.searchsorted(inner_edges, keys.uniform()[:, 0], side="right")
        return {"index": torch.from_numpy(index_B.astype(np.int64))}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Frames of the same shape, not clipped: bicubic overshoots a little."""
        return self._bank(*frames_BTCHW.shape[-2:])(frames_BTCHW, draws["index"])

    def operators(self, draws: Draws, height: int, width: int) -> Operators:
        """Down and up along each axis, or both in one matrix where little shrinks."""
        return self._bank(height, width).operators(draws["index"])

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Parameters of each severity, mildest first."""
        return self._levels

    def _bank(self, height: int, width: int) -> SeparableBank:
        if (height, width) not in self._banks:
            self._make_bank(height, width)
        return self._banks[height, width]

    @not_compiled
    def _make_bank(self, height: int, width: int) -> None:
        self._banks[height, width] = down_up_bank(self.factors, height, width, *self._kernels)


def downscale(params: DownscaleParams, context: BuildContext) -> DownUp:
    """Builds `corruptions/downscale`; its levels are the factors of the VLQR study that the clip's size allows."""
    clip = context.clip
    possible = [factor for factor in _SWEEP if clip is None or factor <= min(clip.height, clip.width)]
    levels = [{"factor": factor, **_kernels(params)} for factor in possible]
    return DownUp({1.0: {params.factor: 1.0}}, (params.interpolation, params.enlarge), False, clip, levels)


def scale_mix(params: ScaleMixParams, context: BuildContext) -> DownUp:
    """Builds `corruptions/scale_mix`; its levels are its own factors, one at a time."""
    mixtures = params.mixtures
    factors = sorted({factor for mixture in mixtures.values() for factor, weight in mixture.items() if weight > 0})
    levels = [{"factors": [factor], **_kernels(params)} for factor in factors]
    return DownUp(mixtures, (params.interpolation, params.enlarge), params.frozen_mix, context.clip, levels)


def _kernels(params: DownscaleParams | ScaleMixParams) -> dict[str, str]:
    """What differs from bicubic."""
    kernels = {"interpolation": params.interpolation, "enlarge": params.enlarge}
    return {name: kernel for name, kernel in kernels.items() if name == "interpolation" or kernel != "bicubic"}
