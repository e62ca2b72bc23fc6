"""What a job may set for each component of this plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from blear.contracts import Params

_SOURCE = (
    "fer2013.csv, icml_face_data.csv, or a folder that holds one of them, faces.zip with labels.csv, or class folders "
    "under train/ and test/."
)


class Fer2013Params(Params):
    """Where FER2013 lies."""

    source: Path = Field(description=_SOURCE)


class FerplusParams(Params):
    """Where FER2013's pictures and FERPlus's votes lie."""

    source: Path = Field(description=f"The pictures: {_SOURCE} Class folders cannot be joined.")
    votes: Path | None = Field(
        None, description="FERPlus's fer2013new.csv; left out, the one beside the pictures, else labels.csv there."
    )
    labels: Literal["majority"] = Field(
        "majority",
        description="How votes become a label: single votes removed, then the class with more than half of the rest.",
    )


class EmotionParams(Params):
    """The classifier on top of an embedding."""

    target: str = Field("emotion", description="Name of the class target that is learnt.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of each label spread over all classes.")
    class_weights: Literal["none", "balanced"] | list[Annotated[float, Field(ge=0)]] = Field(
        "none",
        description="Weight of each class in the loss: none, balanced (samples / (classes * samples of the class)), or "
        "one number for each class in its order.",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Probability that an embedding value is dropped in training.")
