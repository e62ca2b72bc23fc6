"""Degradations of quality and the geometric augmentations of training, batched on the device."""

from __future__ import annotations

from blear.contracts import Component
from blear.hooks import hookimpl
from blear_corruptions.frame_params import HsvJitterParams, RandomBoxParams, ResizeParams
from blear_corruptions.imagenet_c_components import benchmark_operations
from blear_corruptions.menu_components import menu
from blear_corruptions.params import (
    DownscaleParams,
    RandomAffineParams,
    RandomCropParams,
    RandomFlipParams,
    RandomShiftParams,
    ScaleMixParams,
)
from blear_corruptions.photometric_params import RandomBlurParams, RandomBrightnessParams, RandomNoiseParams
from blear_corruptions.recipe_components import recipes

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
            examples=({}, {"p": 0.3, "per": "frame"}),
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
        Component(
            "random_noise",
            "Adds Gaussian noise to some clips, coloured or grey",
            RandomNoiseParams,
            "blear_corruptions.noise:RandomNoise",
        ),
        Component(
            "random_brightness",
            "Makes some clips a little brighter or darker",
            RandomBrightnessParams,
            "blear_corruptions.noise:RandomBrightness",
        ),
        Component(
            "random_blur",
            "Blurs some clips with a Gaussian kernel of random height and width",
            RandomBlurParams,
            "blear_corruptions.blur:RandomBlur",
        ),
        Component(
            "resize",
            "Resizes frames to a fixed size; changes the frames' size",
            ResizeParams,
            "blear_corruptions.boxes:Resize",
            examples=({"size": 16}, {"size": [20, 12]}),
        ),
        Component(
            "random_box",
            "Moves each border of the frame at random, in or out into black, and resizes the box",
            RandomBoxParams,
            "blear_corruptions.boxes:RandomBox",
            examples=({}, {"move": 0.1, "size": [20, 12], "per": "clip"}),
        ),
        Component(
            "hsv_jitter",
            "Shifts the hue and scales saturation and value",
            HsvJitterParams,
            "blear_corruptions.colour:HsvJitter",
            examples=({}, {"hue": 0.0, "per": "clip"}),
        ),
        *menu(),
        *benchmark_operations(),
        *recipes(),
    ]
