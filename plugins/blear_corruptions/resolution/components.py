"""Components of loss of resolution."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.resolution.params import DownscaleParams, ScaleMixParams


def components() -> list[Component]:
    """Returns one component for each operation."""
    return [
        Component(
            "downscale",
            "Shrinks frames by one factor and enlarges them to their former size",
            DownscaleParams,
            "blear_corruptions.resolution.down_up:downscale",
            examples=({"factor": 3}, {"factor": 2.5, "interpolation": "area"}),
        ),
        Component(
            "scale_mix",
            "Shrinks each clip by a factor from a mixture and enlarges it to its former size",
            ScaleMixParams,
            "blear_corruptions.resolution.down_up:scale_mix",
            examples=({"factors": [3, 4, 6]}, {"factors": {1: 1, 4: 3}, "frozen_mix": True}),
        ),
    ]
