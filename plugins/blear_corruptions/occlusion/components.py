"""Components of occlusion."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.occlusion.params import BarsParams, FaceBandParams, OcclusionParams, PatchesParams


def components() -> list[Component]:
    """Returns one component for each operation."""
    return [
        Component(
            "occlusion",
            "Covers a share of the frame with resting or moving rectangles",
            OcclusionParams,
            "blear_corruptions.occlusion.covers:Occlusion",
            examples=({}, {"area": [0, 0.3], "aspect": [0.5, 2], "count": 3, "move": 2, "fill": "noise"}),
        ),
        Component(
            "bars",
            "Covers a share of the frame with parallel bars",
            BarsParams,
            "blear_corruptions.occlusion.covers:Bars",
            examples=({}, {"share": [0, 0.5], "run": "rows", "fill": "mean", "per": "frame"}),
        ),
        Component(
            "face_band",
            "Covers the eyes (sunglasses) or the mouth (mask) of an aligned face",
            FaceBandParams,
            "blear_corruptions.occlusion.covers:FaceBand",
            examples=({}, {"part": "mouth", "fill": "white", "cover": [0.5, 1]}),
        ),
        Component(
            "patches",
            "Covers random squares of a grid",
            PatchesParams,
            "blear_corruptions.occlusion.covers:Patches",
            examples=({}, {"share": [0, 0.5], "grid": 4, "per": "frame", "fill": "grey"}),
        ),
    ]
