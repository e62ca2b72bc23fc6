"""Components of blur, with one kernel for each clip."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.blur.params import BlurParams, BoxBlurParams, LineBlurParams, RandomBlurParams


def components() -> list[Component]:
    """Returns one component for each operation."""
    return [
        Component(
            "random_blur",
            "Blurs some clips with a Gaussian kernel of random height and width",
            RandomBlurParams,
            "blear_corruptions.blur.random_blur:RandomBlur",
        ),
        Component(
            "blur",
            "Gaussian blur with a sigma in pixels",
            BlurParams,
            "blear_corruptions.blur.filters:Blur",
            examples=({}, {"sigma": [0, 3.5]}),
        ),
        Component(
            "box_blur",
            "Averages over a square box with a width in pixels",
            BoxBlurParams,
            "blear_corruptions.blur.filters:BoxBlur",
            examples=({}, {"width": [1, 4.5]}),
        ),
        Component(
            "line_blur",
            "Motion blur with a length in pixels and an angle in degrees; the kernel is an exact line",
            LineBlurParams,
            "blear_corruptions.blur.filters:LineBlur",
            examples=({}, {"length": [1, 9.5], "angle": 30}),
        ),
    ]
