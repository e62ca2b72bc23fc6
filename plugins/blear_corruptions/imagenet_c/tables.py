"""The severities of ImageNet-C in numbers (Hendrycks and Dietterich 2019, arXiv 1903.12261).

All tables are those of the authors' repository `hendrycks/robustness`, folder `ImageNet-C/create_c`: 224 pixels from
`make_imagenet_c.py`, 64 from `make_tinyimagenet_c.py`, 32 from `make_cifar_c.py`. No table is derived. A row is a
severity, 1 to 5; `UNITS` describes the columns. Pixel values are in [0, 1]; px: pixels.
"""

from __future__ import annotations

Row = tuple[float, ...]
Rows = tuple[Row, Row, Row, Row, Row]

_OF_224 = 244 / 224


def _column(a: float, b: float, c: float, d: float, e: float) -> Rows:
    return (a,), (b,), (c,), (d,), (e,)


UNITS: dict[str, str] = {
    "gaussian_noise": "standard deviation",
    "shot_noise": "photons at full brightness",
    "impulse_noise": "share of the values that become 0 or 1",
    "speckle_noise": "standard deviation as a share of the value",
    "defocus_blur": "radius of the disk in px, sigma in px of the Gaussian that smooths the disk",
    "glass_blur": "sigma in px of the Gaussian before and after, largest move in px, rounds",
    "motion_blur": "radius in px (the kernel has 2 radius + 1 pixels), sigma of the kernel in px",
    "zoom_blur": "magnifications are numpy's arange from 1 to the first number (excluded) in steps of the second",
    "gaussian_blur": "sigma in px",
    "snow": "mean and deviation of the flakes' noise, magnification of the noise, threshold, radius and sigma of the "
    "trail in px, share of the image that is not whitened",
    "frost": "factor of the image, factor of the frost",
    "fog": "thickness, decay of the fractal's amplitude at each halving of its step",
    "brightness": "added to the HSV value",
    "spatter": "mean and deviation of the liquid's noise, sigma in px of its smoothing, threshold, opacity of water "
    "or sigma in px of mud's edge, 0 for water or 1 for mud",
    "contrast": "factor of the distance from the mean",
    "saturate": "factor of the HSV saturation, number that is added afterwards",
    "elastic_transform": "amplitude, sigma of its smoothing, largest shift of a corner of the affine map, all as "
    "shares of the shorter side. The authors' numbers for 224 px are shares of 244 px",
    "pixelate": "factor of the side",
    "jpeg_compression": "libjpeg's quality",
}
"""Corruption -> description of the table's columns."""

TABLES: dict[str, dict[int, Rows]] = {
    "gaussian_noise": {
        224: _column(0.08, 0.12, 0.18, 0.26, 0.38),
        64: _column(0.04, 0.08, 0.12, 0.15, 0.18),
        32: _column(0.04, 0.06, 0.08, 0.09, 0.10),
    },
    "shot_noise": {
        224: _column(60, 25, 12, 5, 3),
        64: _column(250, 100, 50, 30, 15),
        32: _column(500, 250, 100, 75, 50),
    },
    "impulse_noise": {
        224: _column(0.03, 0.06, 0.09, 0.17, 0.27),
        64: _column(0.01, 0.02, 0.05, 0.08, 0.14),
        32: _column(0.01, 0.02, 0.03, 0.05, 0.07),
    },
    "speckle_noise": {
        224: _column(0.15, 0.2, 0.35, 0.45, 0.6),
        64: _column(0.15, 0.2, 0.25, 0.3, 0.35),
        32: _column(0.06, 0.1, 0.12, 0.16, 0.2),
    },
    "defocus_blur": {
        224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    },
    "glass_blur": {
        224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    },
    "motion_blur": {
        224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    },
    "zoom_blur": {
        224: ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        64: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        32: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    },
    "gaussian_blur": {
        224: _column(1, 2, 3, 4, 6),
        64: _column(0.5, 0.75, 1, 1.25, 1.5),
        32: _column(0.4, 0.6, 0.7, 0.8, 1),
    },
    "snow": {
        224: (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        64: (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
        32: (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    },
    "frost": {
        224: ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        64: ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        32: ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    },
    "fog": {
        224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    },
    "brightness": {
        224: _column(0.1, 0.2, 0.3, 0.4, 0.5),
        64: _column(0.1, 0.2, 0.3, 0.4, 0.5),
        32: _column(0.05, 0.1, 0.15, 0.2, 0.3),
    },
    "spatter": {
        224: (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
        64: (
            (0.62, 0.1, 0.7, 0.7, 0.6, 0),
            (0.65, 0.1, 0.8, 0.7, 0.6, 0),
            (0.65, 0.3, 1, 0.69, 0.6, 0),
            (0.65, 0.1, 0.7, 0.68, 0.6, 1),
            (0.65, 0.1, 0.5, 0.67, 0.6, 1),
        ),
        32: (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
    },
    "contrast": {
        224: _column(0.4, 0.3, 0.2, 0.1, 0.05),
        64: _column(0.4, 0.3, 0.2, 0.1, 0.05),
        32: _column(0.75, 0.5, 0.4, 0.3, 0.15),
    },
    "saturate": {
        224: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        64: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        32: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    },
    "elastic_transform": {
        224: (
            (2 * _OF_224, 0.7 * _OF_224, 0.1 * _OF_224),
            (2 * _OF_224, 0.08 * _OF_224, 0.2 * _OF_224),
            (0.05 * _OF_224, 0.01 * _OF_224, 0.02 * _OF_224),
            (0.07 * _OF_224, 0.01 * _OF_224, 0.02 * _OF_224),
            (0.12 * _OF_224, 0.01 * _OF_224, 0.02 * _OF_224),
        ),
        64: ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
        32: ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    },
    "pixelate": {
        224: _column(0.6, 0.5, 0.4, 0.3, 0.25),
        64: _column(0.9, 0.8, 0.7, 0.6, 0.5),
        32: _column(0.95, 0.9, 0.85, 0.75, 0.65),
    },
    "jpeg_compression": {
        224: _column(25, 18, 15, 10, 7),
        64: _column(65, 58, 50, 40, 25),
        32: _column(80, 65, 58, 50, 40),
    },
}


def table_for(height: int, width: int) -> int:
    """Returns the table for frames of this size: the side with the smallest ratio to the frames' shorter side."""
    shorter = min(height, width)
    if shorter * shorter >= 224 * 64:
        return 224
    return 64 if shorter * shorter >= 64 * 32 else 32
