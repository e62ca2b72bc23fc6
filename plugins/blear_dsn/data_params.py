"""The keys that a job may give to each dataset of this plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from blear.contracts import Params

_SIZE = "Height and width of the faces in pixels; the network sees 224 of them"


class RafDbParams(Params):
    """Parameters of `dsn/raf_db`."""

    source: Path = Field(description="RAF-DB's basic package: its folder, or the one that holds basic/")
    size: int = Field(default=256, ge=16, le=1024, description=_SIZE)
    face: Literal["five_points", "box", "aligned"] = Field(
        default="five_points",
        description='"five_points": the original image, turned and scaled so that the five manual landmarks fit a '
        'template; "box": its given box with `margin`, stretched to a square; "aligned": the package\'s aligned face',
    )
    margin: float = Field(default=50.0, ge=0, description='Pixels of the original image added on each side of a "box"')
    order: Literal["alphabetical", "package"] = Field(
        default="alphabetical", description="Order of the classes: angry ... surprise, or the package's 1 to 7"
    )


class FaceListParams(Params):
    """Parameters of `dsn/face_list`."""

    source: Path = Field(description="Folder that the lists and the relative paths in them start from")
    train: str = Field(default="Train_RAF_Face.txt", description="List of the split train: <path> <label 0..6>")
    dev: str | None = Field(
        default="Val_RAF_Face.txt", description="List of the split dev; null: there is no such split"
    )
    classes: tuple[str, ...] = Field(
        default=("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
        min_length=2,
        description="What the labels 0, 1, ... mean",
    )
    size: int = Field(default=256, ge=16, le=1024, description=_SIZE)
    empty: Literal["refuse", "black"] = Field(
        default="refuse",
        description='A folder without a picture, as of a clip where no face was found: "refuse", or one "black" frame '
        "with the column found = 0",
    )
