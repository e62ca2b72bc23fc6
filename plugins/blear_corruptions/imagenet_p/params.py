"""Parameters of the sequences of ImageNet-P."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from blear.contracts import Params

Perturbation = Literal[
    "gaussian_noise",
    "shot_noise",
    "speckle_noise",
    "motion_blur",
    "zoom_blur",
    "gaussian_blur",
    "snow",
    "brightness",
    "translate",
    "rotate",
    "tilt",
    "scale",
    "shear",
]


class ImageNetPParams(Params):
    """One perturbation, and its change from frame to frame."""

    perturbation: Perturbation = Field(description="Perturbation that changes a little from frame to frame.")
    difficulty: Literal[1, 2, 3] = Field(
        1,
        description="Noise: one of three strengths. Other perturbations: number of steps of the published sequence "
        "between two frames.",
    )
    frames: int = Field(
        31, ge=2, le=250, description="Number of frames of the clip that a still becomes; clips keep their length."
    )
    first: int = Field(0, ge=0, le=30, description="First frame of a clip, as an index into the published 31 frames.")
