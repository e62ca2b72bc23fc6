"""Classes of kornia that need a special case."""

from __future__ import annotations

# the type, in signatures.json, of a parameter that kornia takes as a tensor
TENSOR = "tuple[float, ...]"
# classes that are refused on grey frames, where they would have no effect or no meaning
_COLOUR = ("ChannelDropout", "ChannelShuffle", "Grayscale", "Hue", "PlanckianJitter", "RGBShift", "Saturation")
COLOUR_ONLY = frozenset(f"Random{name}" for name in _COLOUR)
# classes that need three channels: grey frames are repeated before and averaged after
AS_COLOUR = frozenset(("ColorJiggle", "ColorJitter", "RandomJPEG", "RandomSnow"))
# classes drawn in batches of one: motion blur and rain draw some numbers once for a batch, plasma rounds differently
_SINGLE = ("MotionBlur", "PlasmaBrightness", "PlasmaContrast", "PlasmaShadow", "Rain")
ONE_BY_ONE = frozenset(f"Random{name}" for name in _SINGLE)
# a draw that has one value for a batch, and its parameter: with a range, the clips of each value are applied together
BY_VALUE = {"RandomMotionBlur": ("ksize_factor", "kernel_size")}
# a draw whose length differs by sample, and the parameter that holds the largest length
PADDED = {"RandomRain": ("coordinates_factor", "number_of_drops")}
