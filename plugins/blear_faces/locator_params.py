"""Parameters of the face locators."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from blear.contracts import Params


class LocatorParams(Params):
    """Parameters that all networks share."""

    min_probability: float = Field(0.6, ge=0, le=1, description="smallest probability of a detection")
    min_face: float = Field(
        12,
        ge=4,
        le=256,
        description="smallest side of a face in pixels of the frame; frames are resized so that the network finds it",
    )
    max_side: int = Field(
        1920, ge=64, description="longest side in pixels of a resized frame; it limits min_face in large frames"
    )
    batch_pixels: int = Field(
        2_100_000,
        ge=1,
        description="pixels of resized frames that pass through the network together; larger frames are split",
    )
    tile: int | None = Field(
        None,
        ge=256,
        description="side in pixels of the overlapping tiles of larger resized frames; null: tiles of batch_pixels, "
        "where a frame has more",
    )


class RetinaFaceParams(LocatorParams):
    """Parameters of `faces/retinaface`."""

    device: str = Field("auto", description="torch device; auto: the GPU where there is one, else the CPU")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="numbers of the network; bfloat16 is faster on CPUs with matrix units for it (AMX)"
    )


class MtcnnParams(LocatorParams):
    """Parameters of `faces/mtcnn`."""

    device: str = Field("auto", description="torch device; auto: the GPU where there is one, else the CPU")
    min_probability: float = Field(0.9, ge=0, le=1, description="smallest probability of a detection")
    min_face: float = Field(
        20,
        ge=4,
        le=256,
        description="smallest side of a face in pixels of the frame; frames are resized so that it has 20 pixels",
    )


class CenterFaceParams(LocatorParams):
    """Parameters of `faces/centerface`."""

    device: Literal["auto", "cpu"] = Field("auto", description="OpenCV computes on the CPU")
    min_probability: float = Field(0.5, ge=0, le=1, description="smallest probability of a detection")


class YuNetParams(LocatorParams):
    """Parameters of `faces/yunet`."""

    file: Path = Field(description="ONNX file of the network, for instance face_detection_yunet_2023mar.onnx")
    device: Literal["auto", "cpu"] = Field("auto", description="OpenCV computes on the CPU")


class BoxesParams(Params):
    """Parameters of `faces/boxes`."""

    file: Path = Field(description="table of boxes: csv, tsv, jsonl or parquet")
    first_pixel: Literal[0, 1] = Field(0, description="left and top of the upper left pixel in the table")
    tolerance: float = Field(0.02, ge=0, description="largest difference in seconds between a frame and its row")
    min_probability: float = Field(0.0, ge=0, le=1, description="smallest probability, where the table has one")
    min_face: float = Field(0.0, ge=0, description="smallest side of a face in pixels of the frame")
