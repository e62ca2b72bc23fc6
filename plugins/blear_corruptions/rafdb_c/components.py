"""The component of RAF-DB-C."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.rafdb_c.params import RafDbCParams


def components() -> list[Component]:
    """Returns one component for each operation."""
    return [
        Component(
            "rafdb_c",
            "RAF-DB-C: one of its 13 single or 5 compound corruptions of faces",
            RafDbCParams,
            "blear_corruptions.rafdb_c.corruption:RafDbC",
            examples=(
                {"corruption": "motion_blur_contrast_brightness_minus", "severity": 2},
                {"corruption": "contrast_plus", "mix": {1: 1, 2.5: 1}, "per": "frame"},
            ),
        ),
    ]
