"""Loss of resolution: shrink and enlarge by one factor, or by a mixture (VLQR, sections on the LQ and mixed sets)."""

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
    """Shrinks each clip by a factor from a mixture and enlarges it to its former size. All frames share the factor.

    Args:
        mixtures: fraction of the stage's steps -> factor -> weight, in order. Weights between two fractions are
            interpolated linearly. Factors whose weights are all 0 are left out.
        kernels: filters for shrinking and for enlarging.
        frozen: draw without the epoch, so that a clip keeps its factor.
        clip: shape of the clips. If it is known, the operators are computed here and impossible factors refused.
        levels: return value of `levels()`.

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
        """Returns `index`, int64 [B], the position in `factors`."""
        keys = keys.frozen() if self._frozen else keys
        weights = np.array([np.interp(keys.progress, self._times, column) for column in self._weights.T])
        inner_edges = (np.cumsum(weights) / weights.sum())[:-1]  # the last edge is 1 and must not be rounded
        index_B = np.searchsorted(inner_edges, keys.uniform()[:, 0], side="right")
        return {"index": torch.from_numpy(index_B.astype(np.int64))}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape, not clipped: a bicubic filter overshoots a little."""
        return self._bank(*frames_BTCHW.shape[-2:])(frames_BTCHW, draws["index"])

    def operators(self, draws: Draws, height: int, width: int) -> Operators:
        """Returns the matrices that shrink and enlarge along each axis, or their product if the factor is small."""
        return self._bank(height, width).operators(draws["index"])

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns the parameters of each severity, mildest first."""
        return self._levels

    def _bank(self, height: int, width: int) -> SeparableBank:
        if (height, width) not in self._banks:
            self._make_bank(height, width)
        return self._banks[height, width]

    @not_compiled
    def _make_bank(self, height: int, width: int) -> None:
        self._banks[height, width] = down_up_bank(self.factors, height, width, *self._kernels)


def downscale(params: DownscaleParams, context: BuildContext) -> DownUp:
    """Builds `corruptions/downscale`. Its levels are the VLQR study's factors that are possible for the clip's size."""
    clip = context.clip
    possible = [factor for factor in _SWEEP if clip is None or factor <= min(clip.height, clip.width)]
    levels = [{"factor": factor, **_kernels(params)} for factor in possible]
    return DownUp({1.0: {params.factor: 1.0}}, (params.interpolation, params.enlarge), False, clip, levels)


def scale_mix(params: ScaleMixParams, context: BuildContext) -> DownUp:
    """Builds `corruptions/scale_mix`. Its levels are the single factors of its mixture."""
    mixtures = params.mixtures
    factors = sorted({factor for mixture in mixtures.values() for factor, weight in mixture.items() if weight > 0})
    levels = [{"factors": [factor], **_kernels(params)} for factor in factors]
    return DownUp(mixtures, (params.interpolation, params.enlarge), params.frozen_mix, context.clip, levels)


def _kernels(params: DownscaleParams | ScaleMixParams) -> dict[str, str]:
    """Returns the filters that differ from bicubic."""
    kernels = {"interpolation": params.interpolation, "enlarge": params.enlarge}
    return {name: kernel for name, kernel in kernels.items() if name == "interpolation" or kernel != "bicubic"}
