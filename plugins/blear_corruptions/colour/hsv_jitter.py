"""Colour jitter of hue, saturation and value (FER-VGG-GRU, section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from kornia.color import hsv_to_rgb, rgb_to_hsv
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws
from blear.errors import PluginError
from blear_corruptions.colour.params import HsvJitterParams
from blear_corruptions.random_streams import draws_per_clip, uniform_draws


class HsvJitter:
    """Shifts the hue, and multiplies saturation and value by one factor each.

    A factor is u or 1 / u with equal probability; u is uniform between 1 and the parameter. Saturation and value are
    limited to 1. In grey frames only the value changes.

    Raises:
        PluginError: the frames have neither one nor three channels. Raised here if the clip's shape is known,
            otherwise in `apply`.
    """

    size_independent = True

    def __init__(self, params: HsvJitterParams, context: BuildContext) -> None:
        self._params = params
        self._draws = draws_per_clip(params.per, context, "corruptions/hsv_jitter")
        if context.clip is not None:
            _check(context.clip.channels)

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns `hue` in radians, `saturation` and `value` as factors; each float32 [B, T or 1]."""
        hue, saturation, saturate, value, brighten = uniform_draws(keys, self._draws, 5).unbind(dim=-1)
        return {
            "hue": ((2 * hue - 1) * (2 * math.pi * self._params.hue)).float(),
            "saturation": _factor(saturation, saturate, self._params.saturation),
            "value": _factor(value, brighten, self._params.value),
        }

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape, in [0, 1]."""
        _check(frames_BTCHW.shape[2])
        hue, saturation, value = (draws[name][..., None, None] for name in ("hue", "saturation", "value"))
        frames = frames_BTCHW.clamp(0, 1)
        if frames_BTCHW.shape[2] == 1:
            return (frames * value[..., None]).clamp(max=1)
        h, s, v = rgb_to_hsv(frames).unbind(dim=2)
        jittered = [(h + hue) % (2 * math.pi), (s * saturation).clamp(max=1), (v * value).clamp(max=1)]
        return hsv_to_rgb(torch.stack(jittered, dim=2))

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns no levels: an augmentation has no severity to sweep."""
        return ()


def _factor(place: Tensor, coin: Tensor, most: float) -> Tensor:
    factor = 1 + place * (most - 1)
    return torch.where(coin < 0.5, factor, 1 / factor).float()


def _check(channels: int) -> None:
    if channels not in (1, 3):
        what = f"frames of {channels} channels have no hue, saturation and value"
        raise PluginError(what, "corruptions/hsv_jitter", "use it on RGB or grey frames")
