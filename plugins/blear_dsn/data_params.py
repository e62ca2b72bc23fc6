"""Parameters of the datasets of this plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from blear.contracts import Params

_SIZE = "Height and width of the faces in pixels; the networks crop them to 224"


class RafDbParams(Params):
    """Parameters of `dsn/raf_db`."""

    source: Path = Field(description="Folder of RAF-DB's basic package, or the folder that contains basic/")
    size: int = Field(default=256, ge=16, le=1024, description=_SIZE)
    face: Literal["five_points", "box", "aligned"] = Field(
        default="five_points",
        description='Source of the faces. "five_points": the original image, aligned to a template by its five manual '
        'landmarks; "box": the given box with `margin`, stretched to a square; "aligned": the package\'s aligned face',
    )
    margin: float = Field(
        default=50.0, ge=0, description='Margin on each side of a "box", in pixels of the original image'
    )
    order: Literal["alphabetical", "package"] = Field(
        default="alphabetical", description="Order of the classes: angry ... surprise, or the package's numbers 1 to 7"
    )


class FaceListParams(Params):
    """Parameters of `dsn/face_list`."""

    source: Path = Field(description="Folder of the lists. Paths in the lists are relative to it")
    train: str | None = Field(
        default="Train_RAF_Face.txt", description="List of the split train: <path> <label 0..6>; null: no split train"
    )
    dev: str | None = Field(default="Val_RAF_Face.txt", description="List of the split dev; null: no split dev")
    classes: tuple[str, ...] = Field(
        default=("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
        min_length=2,
        description="Class names of the labels 0, 1, ...",
    )
    size: int = Field(default=256, ge=16, le=1024, description=_SIZE)
    empty: Literal["refuse", "black"] = Field(
        default="refuse",
        description='Treatment of a folder without pictures (a clip without a face). "refuse": an error; "black": one '
        "black frame with the column found = 0 in the split dev; left out and logged in the split train",
    )
