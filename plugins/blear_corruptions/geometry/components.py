"""Components of augmentations that move pixels or change the frames' size."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.geometry.params import (
    RandomAffineParams,
    RandomBoxParams,
    RandomCropParams,
    RandomFlipParams,
    RandomShiftParams,
    ResizeParams,
)


def components() -> list[Component]:
    """Returns one component for each operation."""
    return [
        Component(
            "random_flip",
            "Mirrors clips left to right at random",
            RandomFlipParams,
            "blear_corruptions.geometry.whole_pixels:RandomFlip",
            examples=({}, {"p": 0.3, "per": "frame"}),
        ),
        Component(
            "random_crop",
            "Crops a square at a random position; changes the frames' size",
            RandomCropParams,
            "blear_corruptions.geometry.whole_pixels:RandomCrop",
            examples=({"size": 8},),
        ),
        Component(
            "random_shift",
            "Shifts clips by whole pixels, repeating the border",
            RandomShiftParams,
            "blear_corruptions.geometry.whole_pixels:RandomShift",
            examples=({"pixels": 2},),
        ),
        Component(
            "random_affine",
            "Rotates, scales and shifts clips a little, repeating the border",
            RandomAffineParams,
            "blear_corruptions.geometry.affine:RandomAffine",
            examples=({"degrees": 10, "translate": 0.1, "scale": [0.9, 1.1]},),
        ),
        Component(
            "resize",
            "Resizes frames to a fixed size; changes the frames' size",
            ResizeParams,
            "blear_corruptions.geometry.resize:Resize",
            examples=({"size": 16}, {"size": [20, 12]}),
        ),
        Component(
            "random_box",
            "Crops a box with random borders, which may lie outside the frame (black), and resizes it",
            RandomBoxParams,
            "blear_corruptions.geometry.resize:RandomBox",
            examples=({}, {"move": 0.1, "size": [20, 12], "per": "clip"}),
        ),
    ]
