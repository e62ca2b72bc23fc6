"""Classes of kornia that need a special case."""

from __future__ import annotations

# type in signatures.json of a parameter that kornia expects as a tensor
TENSOR = "tuple[float, ...]"
# classes without effect or meaning on grey frames: they refuse grey frames
_COLOUR = ("ChannelDropout", "ChannelShuffle", "Grayscale", "Hue", "PlanckianJitter", "RGBShift", "Saturation")
COLOUR_ONLY = frozenset(f"Random{name}" for name in _COLOUR)
# classes that need three channels: grey frames are repeated before and averaged after
AS_COLOUR = frozenset(("ColorJiggle", "ColorJitter", "RandomJPEG", "RandomSnow"))
# classes drawn in batches of one: motion blur and rain draw some numbers once for a batch, plasma rounds differently
_SINGLE = ("MotionBlur", "PlasmaBrightness", "PlasmaContrast", "PlasmaShadow", "Rain")
ONE_BY_ONE = frozenset(f"Random{name}" for name in _SINGLE)
# classes that move pixels, beside the subclasses of kornia's GeometricAugmentationBase2D
WARPING = frozenset(("RandomElasticTransform", "RandomFisheye", "RandomThinPlateSpline"))
# a draw with one value for a whole batch, and its parameter: clips with the same value of a range run as one batch
BY_VALUE = {"RandomMotionBlur": ("ksize_factor", "kernel_size")}
# a draw that is the number of one sample of the batch, in place of one value for each sample
SHARED = {"RandomMotionBlur": "idx"}
# a draw with a different length for each sample, and the parameter that is the largest length
PADDED = {"RandomRain": ("coordinates_factor", "number_of_drops")}
