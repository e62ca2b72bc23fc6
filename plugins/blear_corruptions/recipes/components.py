"""Components of the recipes of blind restoration."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.recipes.params import FaceRecipeParams, ScaledRecipeParams


def components() -> list[Component]:
    """Returns one component for each operation."""
    return [
        Component(
            "real_esrgan",
            "Real-ESRGAN: two rounds of blur, resize, noise and JPEG, then a sinc filter",
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
            "GFPGAN for faces: blur, loss of resolution, noise, JPEG, colour",
            FaceRecipeParams,
            "blear_corruptions.recipes.gfpgan:Gfpgan",
            examples=({}, {"severity": 3, "jitter": 0}),
        ),
        Component(
            "real_basicvsr",
            "RealBasicVSR: Real-ESRGAN whose parameters are a random walk over the frames; JPEG replaces video codecs",
            ScaledRecipeParams,
            "blear_corruptions.recipes.real_esrgan:real_basicvsr",
            examples=({}, {"severity": 2.5}),
        ),
    ]
