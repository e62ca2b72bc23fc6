"""Smooth perturbation sequences of ImageNet-P: each frame is changed a little more than the frame before.

Source: Hendrycks and Dietterich 2019 (arXiv 1903.12261, section 4.2). The numbers are those of the authors'
`ImageNet-P/create_p/make_imagenet_p.py`. Frames with a shorter side below 85 pixels (the geometric mean of 224 and 32)
use those of `make_cifar_p.py`. All sequences have 31 frames here (some of the authors' have 41, 21 or 16). Longer clips
go back and forth through the sequence. The authors crop frames from larger images; here pixels outside the frame repeat
the border, or are black for `scale`. `blear.evaluate.statistics.flip_rate` counts the changes of a decision within a
sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws
from blear.errors import PluginError
from blear_corruptions.imagenet_c.blur import gaussian_bank
from blear_corruptions.imagenet_c.colour import Brightness
from blear_corruptions.imagenet_c.noise import GaussianNoise, ShotNoise, SpeckleNoise
from blear_corruptions.imagenet_c.operation import SMALLEST
from blear_corruptions.imagenet_c.resampling import trail
from blear_corruptions.imagenet_c.weather import Snow
from blear_corruptions.imagenet_p.moves import move_of, moved
from blear_corruptions.imagenet_p.params import ImageNetPParams
from blear_corruptions.random_patterns import normal_pattern
from blear_corruptions.recipes.noise import frame_keys

_LAST = 30
_MOVES = ("translate", "rotate", "tilt", "scale", "shear")
_SMALL = 85  # pixels; sqrt(224 x 32)
_NOISES: Mapping[str, type[GaussianNoise | ShotNoise | SpeckleNoise]] = {
    "gaussian_noise": GaussianNoise,
    "shot_noise": ShotNoise,
    "speckle_noise": SpeckleNoise,
}
_NOISE: Mapping[str, Mapping[bool, tuple[float, float, float]]] = {
    "gaussian_noise": {False: (0.03, 0.05, 0.08), True: (0.02, 0.04, 0.06)},
    "shot_noise": {False: (300, 120, 60), True: (700, 400, 200)},
    "speckle_noise": {False: (0.05, 0.10, 0.15), True: (0.05, 0.07, 0.10)},
}
"""Noise -> whether frames are small -> a number for the table of `imagenet_c.tables` for each difficulty."""


class ImageNetP:
    """Builds `corruptions/imagenet_p`.

    Raises:
        PluginError: the frames are smaller than 6 pixels or have an unsuitable number of channels. Raised here if the
            clip's shape is known, otherwise in `apply`.
    """

    def __init__(self, params: ImageNetPParams, context: BuildContext) -> None:
        self._params = params
        self.moves_content = params.perturbation in _MOVES
        if context.clip is not None:
            self._check(context.clip.channels, context.clip.height, context.clip.width)

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns `key`, int64 [B, 1], the key of noise and flakes."""
        return {"key": (torch.from_numpy(keys.uniform()) * 2**53).long()}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames in [0, 1]; stills become clips, [B, frames, C, H, W]."""
        batch, length, channels, height, width = frames_BTCHW.shape
        self._check(channels, height, width)
        if length == 1:
            length = self._params.frames
            frames_BTCHW = frames_BTCHW.expand(batch, length, channels, height, width)
        images = frames_BTCHW.flatten(0, 1).float().clamp(0, 1)
        changed = self._changed(images, self._places(length, images.device).repeat(batch), draws["key"], length)
        return changed.clamp(0, 1).unflatten(0, (batch, length)).to(frames_BTCHW.dtype)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns the three difficulties."""
        return [{"perturbation": self._params.perturbation, "difficulty": difficulty} for difficulty in (1, 2, 3)]

    def _places(self, length: int, device: torch.device) -> Tensor:
        """Returns the index of the published frame for each frame, int64 [T]: back and forth between 0 and 30."""
        step = 1 if self._params.perturbation in _NOISES else self._params.difficulty
        places = (self._params.first + step * torch.arange(length, device=device)) % (2 * _LAST)
        return torch.minimum(places, 2 * _LAST - places)

    def _changed(self, images_NCHW: Tensor, places_N: Tensor, key_B1: Tensor, length: int) -> Tensor:
        """Returns N = B T images, each changed by its position in the sequence."""
        name, (height, width) = self._params.perturbation, images_NCHW.shape[-2:]
        small = min(height, width) < _SMALL
        place = places_N.float()[:, None, None, None]
        match name:
            case "gaussian_noise" | "shot_noise" | "speckle_noise":
                return self._noisy(images_NCHW, frame_keys(key_B1, length), length, small)
            case "motion_blur":
                radius, sigma, degrees = (6, 1.8, (place - 20) * 9) if small else (10, 3.0, (place - 30) * 4)
                one = torch.ones_like(place)
                return trail(images_NCHW, one * radius, one * sigma, degrees, radius)
            case "zoom_blur":
                return _zoomed(images_NCHW, places_N)
            case "gaussian_blur":
                first, step, cut = (0.3, 0.015, 7.0) if small else (0.25, 0.035, 6.0)
                bank = gaussian_bank(first + step * np.arange(_LAST + 1), height, width, truncate=cut)
                return bank(images_NCHW[:, None], places_N)[:, 0]
            case "snow":
                return _snowy(images_NCHW, place, key_B1, length, small)
            case "brightness":
                more = (np.arange(_LAST + 1) - 15) * (0.015 if small else 0.02)
                return Brightness(more[:, None], height, width).change(images_NCHW, places_N, images_NCHW)
            case _:
                return moved(images_NCHW, move_of(name, place[:, 0, 0, 0], height, width, small), name == "scale")

    def _noisy(self, images_NCHW: Tensor, keys_N: Tensor, length: int, small: bool) -> Tensor:
        """Returns images with independent noise in every frame but the first."""
        name, (channels, height, width) = self._params.perturbation, images_NCHW.shape[1:]
        strength = _NOISE[name][small][self._params.difficulty - 1]
        operation = _NOISES[name](np.array([[strength]]), height, width)
        index_N = torch.zeros(len(images_NCHW), dtype=torch.int64, device=images_NCHW.device)
        noisy = operation.change(images_NCHW, index_N, operation.pattern(keys_N, index_N, channels))
        first = torch.arange(len(images_NCHW), device=images_NCHW.device) % length == 0
        return torch.where(first[:, None, None, None], images_NCHW, noisy)

    def _check(self, channels: int, height: int, width: int) -> None:
        if self._params.perturbation in ("snow", "brightness") and channels not in (1, 3):
            what = f"frames of {channels} channels have no colour to change"
            raise PluginError(what, "corruptions/imagenet_p", "use it on RGB or grey frames")
        if min(height, width) < SMALLEST:
            what = f"frames of {height} x {width} pixels are too small"
            raise PluginError(what, "corruptions/imagenet_p", f"use frames of at least {SMALLEST} x {SMALLEST}")


def _zoomed(images_NCHW: Tensor, places_N: Tensor) -> Tensor:
    """Returns the mean of each image and of its first `place` magnifications."""
    total, (height, width) = images_NCHW, images_NCHW.shape[-2:]
    for number in range(1, _LAST + 1):
        larger = move_of("zoom", torch.full_like(places_N, number).float(), height, width, False)
        taken = (places_N >= number).float()[:, None, None, None]
        total = total + taken * moved(images_NCHW, larger, False)
    return total / (places_N + 1).float()[:, None, None, None]


def _snowy(images_NCHW: Tensor, place_N111: Tensor, key_B1: Tensor, length: int, small: bool) -> Tensor:
    """Returns images with snow: all frames of a clip have the same flakes, and their direction rotates."""
    factor, radius, sigma = (2.0, 10, 2.0) if small else (3.0, 14, 4.0)
    height, width = images_NCHW.shape[-2:]
    snow = Snow(np.array([[0.05, 0.3, factor, 0.5, radius, sigma, 0.85]]), height, width)
    index_B = torch.zeros(len(key_B1), dtype=torch.int64, device=key_B1.device)
    flakes = snow.flakes(normal_pattern(key_B1[:, 0], (1, height, width)), index_B).repeat_interleave(length, dim=0)
    one = torch.ones_like(place_N111)
    layer = trail(flakes, one * radius, one * sigma, place_N111 * 4 - 150, radius)
    return snow.change(images_NCHW, index_B.repeat_interleave(length), layer)
