"""Constants of FER2013: usages, splits of each protocol, picture size. The classes are in `blear_emotions.labels`."""

from __future__ import annotations

from blear_fer.datasets.params import Protocol

USAGES = ("Training", "PublicTest", "PrivateTest")

PROTOCOLS: dict[Protocol, dict[str, tuple[int, ...]]] = {
    "official": {"train": (0,), "dev": (1,), "test": (2,)},
    "fer_vgg_gru": {"train": (0, 1), "dev": (2,)},
}
"""Protocol -> split -> indices into `USAGES`."""

SIZES = (28_709, 3_589, 3_589)
"""Number of rows of each usage in the official file."""

ROWS = sum(SIZES)
"""Number of rows of the official file."""

SIDE = 48
"""Rows and columns of a face, in pixels."""
