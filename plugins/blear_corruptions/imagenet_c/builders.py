"""Build functions of the 19 components of ImageNet-C, each with the signature `build(params, context)`."""

from __future__ import annotations

from functools import partial

from blear.contracts import BuildContext
from blear_corruptions.imagenet_c.blur import DefocusBlur, GaussianBlur, GlassBlur, MotionBlur, ZoomBlur
from blear_corruptions.imagenet_c.colour import Brightness, Contrast, Saturate
from blear_corruptions.imagenet_c.digital import ElasticTransform, JpegCompression, Pixelate
from blear_corruptions.imagenet_c.noise import GaussianNoise, ImpulseNoise, ShotNoise, SpeckleNoise
from blear_corruptions.imagenet_c.operation import Corruption, Operation
from blear_corruptions.imagenet_c.params import ImageNetCParams
from blear_corruptions.imagenet_c.spatter import Spatter
from blear_corruptions.imagenet_c.tables import TABLES, Rows, table_for
from blear_corruptions.imagenet_c.weather import Fog, Frost, Snow


def _benchmark(name: str, operation: type[Operation], params: ImageNetCParams, context: BuildContext) -> Corruption:
    tables = TABLES[name]

    def rows_of(height: int, width: int) -> Rows:
        return tables[table_for(height, width) if params.table == "auto" else params.table]

    return Corruption(name, operation, rows_of, params, context)


gaussian_noise = partial(_benchmark, "gaussian_noise", GaussianNoise)
shot_noise = partial(_benchmark, "shot_noise", ShotNoise)
impulse_noise = partial(_benchmark, "impulse_noise", ImpulseNoise)
speckle_noise = partial(_benchmark, "speckle_noise", SpeckleNoise)
defocus_blur = partial(_benchmark, "defocus_blur", DefocusBlur)
glass_blur = partial(_benchmark, "glass_blur", GlassBlur)
motion_blur = partial(_benchmark, "motion_blur", MotionBlur)
zoom_blur = partial(_benchmark, "zoom_blur", ZoomBlur)
gaussian_blur = partial(_benchmark, "gaussian_blur", GaussianBlur)
snow = partial(_benchmark, "snow", Snow)
frost = partial(_benchmark, "frost", Frost)
fog = partial(_benchmark, "fog", Fog)
brightness = partial(_benchmark, "brightness", Brightness)
spatter = partial(_benchmark, "spatter", Spatter)
contrast = partial(_benchmark, "contrast", Contrast)
saturate = partial(_benchmark, "saturate", Saturate)
elastic_transform = partial(_benchmark, "elastic_transform", ElasticTransform)
pixelate = partial(_benchmark, "pixelate", Pixelate)
jpeg_compression = partial(_benchmark, "jpeg_compression", JpegCompression)
