"""Components of the 19 corruptions of ImageNet-C."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.imagenet_c.params import ImageNetCParams

_SUMMARIES = {
    "gaussian_noise": "adds Gaussian noise",
    "shot_noise": "adds Poisson noise of photon counts",
    "impulse_noise": "sets values to black or white: salt and pepper noise",
    "speckle_noise": "adds Gaussian noise in proportion to the value",
    "defocus_blur": "convolves with a disk, as an out-of-focus lens does",
    "glass_blur": "exchanges pixels with pixels near them, as frosted glass does",
    "motion_blur": "blurs along a random direction",
    "zoom_blur": "averages magnifications, as a zooming camera does",
    "gaussian_blur": "convolves with a Gaussian",
    "snow": "whitens the frame and adds snowflakes with trails",
    "frost": "mixes with generated frost (the original has photographs)",
    "fog": "adds a plasma fractal",
    "brightness": "adds to the HSV value",
    "spatter": "adds drops of water or mud",
    "contrast": "moves values towards their mean",
    "saturate": "changes the HSV saturation",
    "elastic_transform": "warps by a random affine map and small displacements",
    "pixelate": "shrinks and enlarges with a box filter",
    "jpeg_compression": "encodes and decodes as JPEG, differentiable",
}


def components() -> list[Component]:
    """Returns one component for each corruption, named as in the benchmark."""
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
