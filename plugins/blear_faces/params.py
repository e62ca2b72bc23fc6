"""Parameters of the procedural faces."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from blear.contracts import Params

TargetName = Literal["emotion", "valence", "arousal"]


class Subjects(Params):
    """Number of identities of each split; no identity is in both."""

    train: int = Field(64, ge=1, description="identities of the training split")
    dev: int = Field(16, ge=1, description="identities of the development split")
    test: int = Field(0, ge=0, description="identities of the split `test`, in no other split; 0: no such split")


class ProceduralParams(Params):
    """Parameters of `faces/procedural`."""

    size: int = Field(96, ge=24, le=512, description="height and width of a frame in pixels")
    scene: int | None = Field(
        None,
        ge=24,
        le=1024,
        description="height and width of a larger frame with the face of `size` pixels at its centre; null: the frame "
        "has `size` pixels",
    )
    color: Literal["rgb", "luma"] = Field(
        "rgb", description="rgb: three channels; luma: one channel, BT.601 studio range 16..235"
    )
    targets: tuple[TargetName, ...] = Field(
        ("emotion", "valence", "arousal"), min_length=1, description="labels of a sample, in this order"
    )
    subjects: Subjects = Field(Subjects(), description="identities of each split")
    per_subject: int = Field(64, ge=1, description="samples of each identity, spread evenly over its recordings")
    recordings: int = Field(
        4,
        ge=1,
        description="recordings of each identity; light, background and usual pose are fixed within a recording",
    )
    frames: int = Field(1, ge=1, le=512, description="frames of a sample at 25 frames per second; 1: still images")
    seed: int | None = Field(None, ge=0, description="random seed; null: the job's seed")

    @model_validator(mode="after")
    def _face_inside(self) -> Self:
        if self.scene is not None and (self.scene < self.size or (self.scene - self.size) % 2):
            raise ValueError(
                f"a face of {self.size} pixels cannot be centred in a scene of {self.scene}: give a larger "
                "one whose difference is even"
            )
        return self

    @property
    def pixels(self) -> int:
        """Height and width of a frame."""
        return self.size if self.scene is None else self.scene
