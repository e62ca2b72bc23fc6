"""Parameters of RAF-DB-C."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from blear_corruptions.imagenet_c.params import SeverityParams

RafDbCorruption = Literal[
    "gaussian_blur",
    "defocus_blur",
    "zoom_blur",
    "motion_blur",
    "gaussian_noise",
    "shot_noise",
    "contrast_plus",
    "contrast",
    "brightness_plus",
    "brightness_minus",
    "spatter",
    "pixelate",
    "jpeg_compression",
    "contrast_brightness_plus",
    "contrast_brightness_minus",
    "gaussian_noise_contrast_brightness_minus",
    "motion_blur_contrast_brightness_minus",
    "pixelate_contrast_brightness_minus",
]


class RafDbCParams(SeverityParams):
    """One of the 18 corruptions, and its severity."""

    corruption: RafDbCorruption = Field(
        description="One of the benchmark's 18 corruptions. The last five are compounds: noise, motion blur or loss of "
        "resolution, then brightness, then contrast."
    )
