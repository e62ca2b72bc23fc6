"""Degradations of quality and the geometric augmentations of training, batched on the device."""

from __future__ import annotations

from blear.contracts import Component
from blear.hooks import hookimpl
from blear_corruptions.params import (
    DownscaleParams,
    RandomAffineParams,
    RandomCropParams,
    RandomFlipParams,
    RandomShiftParams,
    ScaleMixParams,
)

PLUGIN_API = 1


@hookimpl
def register_degradations() -> list[Component]:
    """The menu: loss of resolution, then augmentations."""
    return [
        Component(
            "downscale",
            "Shrinks frames by one factor and enlarges them back",
            DownscaleParams,
            "blear_corruptions.scale:downscale",
            examples=({"factor": 3}, {"factor": 2.5, "interpolation": "area"}),
        ),
        Component(
            "scale_mix",
            "Shrinks each clip by a factor drawn from a mixture and enlarges it back",
            ScaleMixParams,
            "blear_corruptions.scale:scale_mix",
            examples=({"factors": [3, 4, 6]}, {"factors": {1: 1, 4: 3}, "frozen_mix": True}),
        ),
        Component(
            "random_flip",
            "Mirrors clips left to right at random",
            RandomFlipParams,
            "blear_corruptions.geometry:RandomFlip",
        ),
        Component(
            "random_crop",
            "Cuts a square at a random place; changes the frames' size",
            RandomCropParams,
            "blear_corruptions.geometry:RandomCrop",
            examples=({"size": 8},),
        ),
        Component(
            "random_shift",
            "Shifts clips by whole pixels, repeating the border",
            RandomShiftParams,
            "blear_corruptions.geometry:RandomShift",
            examples=({"pixels": 2},),
        ),
        Component(
            "random_affine",
            "Rotates, scales and shifts clips a little, repeating the border",
            RandomAffineParams,
            "blear_corruptions.affine:RandomAffine",
            examples=({"degrees": 10, "translate": 0.1, "scale": [0.9, 1.1]},),
        ),
    ]
