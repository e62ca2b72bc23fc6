"""Classes of kornia that are left out, and those that need a special case."""

from __future__ import annotations

from typing import Any

_SIZE = "changes the frames' size: corruptions/resize, random_crop and random_box do that with an evaluation version"
_RANGE = "gives values outside [0, 1]; a backbone normalises its own input"
_MIXES = "mixes samples, whose labels a degradation cannot change; a stage has mixup"
LEFT_OUT: dict[str, str] = {
    **dict.fromkeys(("CenterCrop", "LongestMaxSize", "PadTo", "RandomCrop"), _SIZE),
    **dict.fromkeys(("RandomResizedCrop", "Resize", "SmallestMaxSize"), _SIZE),
    **dict.fromkeys(("Denormalize", "Normalize"), _RANGE),
    **dict.fromkeys(("RandomCutMixV2", "RandomMixUpV2", "RandomMosaic", "PatchMix", "RandomTransplantation"), _MIXES),
    "RandomJigsaw": "moves patches of the whole batch by one draw, and needs frames that its grid divides",
    "RandomDissolving": "downloads a diffusion model of gigabytes",
}
"""Class -> why it is no component."""

TENSOR = "tuple[float, ...]"
"""Type, in `signatures.json`, of a parameter that kornia wants as a tensor."""

COLOUR_ONLY = frozenset(
    f"Random{name}"
    for name in ("ChannelDropout", "ChannelShuffle", "Grayscale", "Hue", "PlanckianJitter", "RGBShift", "Saturation")
)
"""Refused on grey frames, where they would do nothing or have no meaning."""

AS_COLOUR = frozenset(("ColorJiggle", "ColorJitter", "RandomJPEG", "RandomSnow"))
"""Need three channels: grey frames are repeated before and averaged after."""

ONE_BY_ONE = frozenset(
    ("RandomMotionBlur", "RandomPlasmaBrightness", "RandomPlasmaContrast", "RandomPlasmaShadow", "RandomRain")
)
"""Drawn sample by sample, in batches of one: motion blur and rain draw some of their numbers once for a batch, and
plasma is rounded in another way in a larger batch."""

BY_VALUE = {"RandomMotionBlur": ("ksize_factor", "kernel_size")}
"""A draw of which a batch has one value, and its parameter: where that is a range, the clips of each value are applied
together."""

PADDED = {"RandomRain": ("coordinates_factor", "number_of_drops")}
"""A draw whose length differs by sample, and the parameter that holds the largest length."""

DEFAULTS: dict[str, dict[str, Any]] = {name: {"order": [0, 1, 2, 3]} for name in ("ColorJiggle", "ColorJitter")}
"""Defaults that replace kornia's: without an order, kornia would draw one for the whole batch. null is this order."""
