"""What the components of ImageNet-C are built with: `build(params, context)` of each of the 19."""

from __future__ import annotations

from functools import partial

from blear_corruptions.imagenet_c import Corruption
from blear_corruptions.imagenet_c_blur import DefocusBlur, GaussianBlur, GlassBlur, MotionBlur, ZoomBlur
from blear_corruptions.imagenet_c_colour import Brightness, Contrast, Saturate
from blear_corruptions.imagenet_c_digital import ElasticTransform, JpegCompression, Pixelate
from blear_corruptions.imagenet_c_noise import GaussianNoise, ImpulseNoise, ShotNoise, SpeckleNoise
from blear_corruptions.imagenet_c_spatter import Spatter
from blear_corruptions.imagenet_c_weather import Fog, Frost, Snow

gaussian_noise = partial(Corruption, "gaussian_noise", GaussianNoise)
shot_noise = partial(Corruption, "shot_noise", ShotNoise)
impulse_noise = partial(Corruption, "impulse_noise", ImpulseNoise)
speckle_noise = partial(Corruption, "speckle_noise", SpeckleNoise)
defocus_blur = partial(Corruption, "defocus_blur", DefocusBlur)
glass_blur = partial(Corruption, "glass_blur", GlassBlur)
motion_blur = partial(Corruption, "motion_blur", MotionBlur)
zoom_blur = partial(Corruption, "zoom_blur", ZoomBlur)
gaussian_blur = partial(Corruption, "gaussian_blur", GaussianBlur)
snow = partial(Corruption, "snow", Snow)
frost = partial(Corruption, "frost", Frost)
fog = partial(Corruption, "fog", Fog)
brightness = partial(Corruption, "brightness", Brightness)
spatter = partial(Corruption, "spatter", Spatter)
contrast = partial(Corruption, "contrast", Contrast)
saturate = partial(Corruption, "saturate", Saturate)
elastic_transform = partial(Corruption, "elastic_transform", ElasticTransform)
pixelate = partial(Corruption, "pixelate", Pixelate)
jpeg_compression = partial(Corruption, "jpeg_compression", JpegCompression)
