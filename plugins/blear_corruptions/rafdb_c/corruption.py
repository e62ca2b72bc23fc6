"""RAF-DB-C: 13 single and 5 compound corruptions of faces (Greco, Strisciuglio, Vento, Vigilante 2022).

"Benchmarking deep networks for facial emotion recognition in the wild", doi 10.1007/s11042-022-12790-7. Operations,
numbers and pairs of severities are those of the authors' repository `MiviaLab/emotion-robustness` (`corruptions.py`,
`ferplus_aug_dataset.py`), written for faces of 100 pixels. Lengths are in pixels, except for the `_Growing` classes.
Two differences from the authors' code: intermediate values are not rounded to 8 bits, and a motion below 1 pixel (sides
under 48) becomes 1 pixel.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from blear.contracts import BuildContext
from blear_corruptions.imagenet_c.blur import DefocusBlur, GaussianBlur, MotionBlur, ZoomBlur
from blear_corruptions.imagenet_c.colour import Brightness, Contrast
from blear_corruptions.imagenet_c.digital import JpegCompression, Pixelate
from blear_corruptions.imagenet_c.noise import GaussianNoise, ShotNoise
from blear_corruptions.imagenet_c.operation import Corruption, Operation
from blear_corruptions.imagenet_c.spatter import Spatter
from blear_corruptions.imagenet_c.tables import TABLES, Rows
from blear_corruptions.rafdb_c.params import RafDbCParams

_SIDE = 48  # side of the faces, in pixels, for which the growing lengths were published


class _GrowingDefocus(DefocusBlur):
    """Defocus blur whose radius and edge are proportional to the shorter side."""

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP * (min(height, width) / _SIDE), height, width)


class _GrowingMotion(MotionBlur):
    """Motion blur whose radius and sigma are proportional to the shorter side.

    They are a third of the table's numbers at 48 pixels, rounded down.
    """

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(np.maximum(np.floor(rows_KP * (min(height, width) / _SIDE) / 3), 1), height, width)


class Compound(Operation):
    """A sequence of operations, with values limited to [0, 1] after each. Only the first one has a random pattern.

    Attributes:
        parts: the operations in order, each with its number of columns of the table.
    """

    parts: tuple[tuple[type[Operation], int], ...]

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        ends = np.cumsum([columns for _, columns in self.parts])[:-1]
        shares = np.split(rows_KP, ends, axis=1)
        self._operations = [
            operation(rows, height, width) for (operation, _), rows in zip(self.parts, shares, strict=True)
        ]

    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Returns the random pattern of the first part."""
        return self._operations[0].pattern(keys_M, index_M, channels)

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns the images after all parts."""
        for operation in self._operations:
            images_NCHW = operation.change(images_NCHW, index_N, pattern_N).clamp(0, 1)
        return images_NCHW


class _Light(Compound):
    channels = (1, 3)
    parts = ((Brightness, 1), (Contrast, 1))


class _NoiseLight(Compound):
    channels = (1, 3)
    parts = ((GaussianNoise, 1), (Brightness, 1), (Contrast, 1))


class _MotionLight(Compound):
    channels = (1, 3)
    parts = ((_GrowingMotion, 2), (Brightness, 1), (Contrast, 1))


class _PixelateLight(Compound):
    channels = (1, 3)
    parts = ((Pixelate, 1), (Brightness, 1), (Contrast, 1))


def _column(a: float, b: float, c: float, d: float, e: float) -> Rows:
    return (a,), (b,), (c,), (d,), (e,)


_SINGLE: Mapping[str, tuple[type[Operation], Rows]] = {
    "gaussian_blur": (GaussianBlur, _column(1, 1.8, 2.6, 3.4, 4.0)),
    "defocus_blur": (_GrowingDefocus, ((1.5, 0.1), (2, 0.2), (2, 0.3), (2.5, 0.4), (3, 0.4))),
    "zoom_blur": (ZoomBlur, ((1.11, 0.01), (1.18, 0.01), (1.26, 0.02), (1.32, 0.02), (1.40, 0.03))),
    "motion_blur": (_GrowingMotion, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    "gaussian_noise": (GaussianNoise, _column(0.08, 0.12, 0.18, 0.24, 0.30)),
    "shot_noise": (ShotNoise, _column(60, 29, 15, 8, 5)),
    "contrast_plus": (Contrast, _column(1.5, 1.9, 2.6, 3.3, 5.0)),
    "contrast": (Contrast, _column(0.4, 0.33, 0.24, 0.16, 0.1)),
    "brightness_plus": (Brightness, _column(0.1, 0.2, 0.3, 0.4, 0.5)),
    "brightness_minus": (Brightness, _column(-0.1, -0.2, -0.3, -0.4, -0.5)),
    "spatter": (Spatter, TABLES["spatter"][224]),
    "pixelate": (Pixelate, _column(0.6, 0.5, 0.41, 0.3, 0.25)),
    "jpeg_compression": (JpegCompression, TABLES["jpeg_compression"][224]),
}
"""Corruption -> operation and its table; the columns are those of `imagenet_c.tables`."""

_PAIRS: Mapping[str, tuple[type[Operation], tuple[str, ...], tuple[tuple[int, ...], ...]]] = {
    "contrast_brightness_plus": (
        _Light,
        ("brightness_plus", "contrast"),
        ((1, 1), (2, 1), (2, 2), (2, 3), (3, 4)),
    ),
    "contrast_brightness_minus": (
        _Light,
        ("brightness_minus", "contrast"),
        ((1, 1), (2, 1), (2, 2), (2, 3), (3, 4)),
    ),
    "gaussian_noise_contrast_brightness_minus": (
        _NoiseLight,
        ("gaussian_noise", "brightness_minus", "contrast"),
        ((1, 1, 1), (2, 2, 1), (2, 2, 2), (3, 2, 3), (3, 2, 4)),
    ),
    "motion_blur_contrast_brightness_minus": (
        _MotionLight,
        ("motion_blur", "brightness_minus", "contrast"),
        ((2, 1, 1), (3, 1, 1), (4, 2, 2), (5, 2, 1), (5, 2, 3)),
    ),
    "pixelate_contrast_brightness_minus": (
        _PixelateLight,
        ("pixelate", "brightness_minus", "contrast"),
        ((1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 2, 1), (4, 3, 3)),
    ),
}
"""Compound -> operation, its parts in order, and for each severity of the compound the severities of the parts."""


def operation_of(corruption: str) -> tuple[type[Operation], Rows]:
    """Returns the operation, and its table for the severities 1 to 5."""
    if corruption in _SINGLE:
        return _SINGLE[corruption]
    operation, names, severities = _PAIRS[corruption]
    rows = [
        tuple(value for name, severity in zip(names, each, strict=True) for value in _SINGLE[name][1][severity - 1])
        for each in severities
    ]
    return operation, (rows[0], rows[1], rows[2], rows[3], rows[4])


class RafDbC(Corruption):
    """Builds `corruptions/rafdb_c`."""

    def __init__(self, params: RafDbCParams, context: BuildContext) -> None:
        operation, rows = operation_of(params.corruption)
        super().__init__("rafdb_c", operation, lambda height, width: rows, params, context)
        self._corruption = params.corruption

    def levels(self) -> list[dict[str, object]]:
        """Returns the five severities of this corruption."""
        return [{"corruption": self._corruption, "severity": severity} for severity in (1, 2, 3, 4, 5)]
