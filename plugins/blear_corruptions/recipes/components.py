"""Recipes of blind restoration: the components."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.recipes.params import FaceRecipeParams, ScaledRecipeParams


def components() -> list[Component]:
    """One for each operation."""
    return [
        Component(
            "real_esrgan",
            "Real-ESRGAN: blur, resize, noise and JPEG twice over, then a sinc filter",
            ScaledRecipeParams,
            "blear_corruptions.recipes.real_esrgan:real_esrgan",
            examples=({}, {"severity": {1: 1, 3: 2}, "scale": 2}),
        ),
        Component(
            "bsrgan",
            "BSRGAN: two blurs, two resizes, noise and JPEG in random order",
            ScaledRecipeParams,
            "blear_corruptions.recipes.bsrgan:Bsrgan",
            examples=({}, {"severity": 2, "scale": 2}),
        ),
        Component(
            "gfpgan",
            "GFPGAN's range for faces: blur, loss of resolution, noise, JPEG, colour",
            FaceRecipeParams,
            "blear_corruptions.recipes.gfpgan:Gfpgan",
            examples=({}, {"severity": 3, "jitter": 0}),
        ),
        Component(
            "real_basicvsr",
            "RealBasicVSR: Real-ESRGAN whose parameters walk from frame to frame; its video codecs as JPEG",
            ScaledRecipeParams,
            "blear_corruptions.recipes.real_esrgan:real_basicvsr",
            examples=({}, {"severity": 2.5}),
        ),
    ]
