"""The 19 operations of ImageNet-C as components."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.imagenet_c.params import ImageNetCParams

_SUMMARIES = {
    "gaussian_noise": "adds Gaussian noise",
    "shot_noise": "counts photons: Poisson noise",
    "impulse_noise": "turns values black or white: salt and pepper",
    "speckle_noise": "adds Gaussian noise in proportion to the value",
    "defocus_blur": "convolves with a disk, as out of focus",
    "glass_blur": "moves pixels to near places, as behind frosted glass",
    "motion_blur": "smears along a random direction",
    "zoom_blur": "averages magnifications, as while zooming in",
    "gaussian_blur": "convolves with a Gaussian",
    "snow": "whitens and adds flakes with trails",
    "frost": "adds frost, generated instead of photographed",
    "fog": "adds a plasma fractal",
    "brightness": "adds to the HSV value",
    "spatter": "adds drops of water or mud",
    "contrast": "moves values towards their mean",
    "saturate": "changes the HSV saturation",
    "elastic_transform": "bends by a random affine map and small displacements",
    "pixelate": "shrinks and enlarges with a box filter",
    "jpeg_compression": "codes as JPEG, differentiable",
}


def components() -> list[Component]:
    """One for each operation, in the benchmark's names."""
    return [
        Component(
            name,
            f"ImageNet-C: {summary}",
            ImageNetCParams,
            f"blear_corruptions.imagenet_c.builders:{name}",
            examples=({}, {"severity": 3}, {"mix": {1: 1, 2.5: 1}, "table": 32, "per": "frame"}),
        )
        for name, summary in _SUMMARIES.items()
    ]
