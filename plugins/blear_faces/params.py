"""Parameters of the procedural faces and of the MTCNN locator."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

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


class MtcnnParams(Params):
    """Parameters of `faces/mtcnn`."""

    device: str = Field("auto", description="torch device; auto: the GPU where there is one, else the CPU")
    min_probability: float = Field(0.9, ge=0, le=1, description="smallest probability of a detection")
    max_side: int = Field(
        640, ge=20, description="longer side in pixels to which larger frames are shrunk before detection"
    )
    min_face: int = Field(20, ge=12, description="smallest side of a face in pixels of the (shrunk) frame")


class RetinaFaceParams(Params):
    """Parameters of `faces/retinaface`."""

    device: str = Field("auto", description="torch device; auto: the GPU where there is one, else the CPU")
    min_probability: float = Field(0.6, ge=0, le=1, description="smallest probability of a detection")
    min_face: float = Field(
        12,
        ge=4,
        le=256,
        description="smallest side of a face in pixels of the frame; it is resized by 18 / min_face",
    )
    max_side: int = Field(
        1920, ge=64, description="longest side in pixels of a resized frame; it limits min_face in large frames"
    )
    batch_pixels: int = Field(
        2_000_000, ge=1, description="pixels of the resized frames that pass through the network together"
    )
