"""What FER2013's packagings agree on; the classes are in `blear_emotions.labels`."""

from __future__ import annotations

from blear_fer.datasets.params import Protocol

USAGES = ("Training", "PublicTest", "PrivateTest")

PROTOCOLS: dict[Protocol, dict[str, tuple[int, ...]]] = {
    "official": {"train": (0,), "dev": (1,), "test": (2,)},
    "fer_vgg_gru": {"train": (0, 1), "dev": (2,)},
}
"""Protocol -> split -> what of `USAGES` it holds."""

SIDE = 48
"""Rows and columns of a face, in pixels."""
