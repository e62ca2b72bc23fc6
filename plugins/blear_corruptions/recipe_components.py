"""Degradations that others published as wholes: benchmarks' compounds and the recipes of blind restoration."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.rafdb_c_params import RafDbCParams


def recipes() -> list[Component]:
    """One for each benchmark or recipe."""
    return [
        Component(
            "rafdb_c",
            "RAF-DB-C: one of its 13 single or 5 compound corruptions of faces",
            RafDbCParams,
            "blear_corruptions.rafdb_c:RafDbC",
            examples=(
                {"corruption": "motion_blur_contrast_brightness_minus", "severity": 2},
                {"corruption": "contrast_plus", "mix": {1: 1, 2.5: 1}, "per": "frame"},
            ),
        ),
    ]
