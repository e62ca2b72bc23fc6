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
    """One perturbation and how far it goes from frame to frame."""

    perturbation: Perturbation = Field(description="What changes a little from frame to frame.")
    difficulty: Literal[1, 2, 3] = Field(
        1,
        description="Of noise: one of three strengths. Of everything else: how many steps of the published sequence "
        "lie between two frames.",
    )
    frames: int = Field(
        31, ge=2, le=250, description="A still becomes a clip of so many frames; clips keep their length."
    )
    first: int = Field(0, ge=0, le=30, description="Which of the published 31 frames a clip begins with.")
