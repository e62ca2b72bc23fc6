"""What a job may set for the datasets of this plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from blear.contracts import Params

Split = Literal["train", "dev"]
Protocol = Literal["official", "fer_vgg_gru"]
_SOURCE = (
    "fer2013.csv, icml_face_data.csv, or a folder that holds one of them, faces.zip with labels.csv, or class folders "
    "under train/ and test/."
)


class Fer2013Params(Params):
    """Where FER2013 lies, and which rows are trained on."""

    source: Path = Field(description=_SOURCE)
    protocol: Protocol = Field(
        "official",
        description="official: train is Training, dev PublicTest, test PrivateTest; fer_vgg_gru: train is Training and "
        "PublicTest, dev PrivateTest, on which that system also chose its model.",
    )


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


class AfewParams(Params):
    """Where AFEW lies, and what of it becomes a sample."""

    source: Path = Field(
        description="Folder that holds Train_AFEW and Val_AFEW (or Train and Val) with <Emotion>/<id>.avi, or "
        "<Emotion>/<id>/ of pictures."
    )
    lists: dict[Split, Path] = Field(
        default_factory=dict,
        description="Lists of clips in place of the split's folder; lines `<folder> <Emotion>`, folders relative to "
        "`source`.",
    )
    unit: Literal["clip", "frame"] = Field(
        "clip", description="What is a sample: a whole clip, or each of its faces alone, with the clip as `video`."
    )
    faces: Literal["locate", "aligned", "given"] = Field(
        "locate",
        description="locate: the largest face of each frame, and the organisers' aligned faces where there is none; "
        "aligned: only those; given: the clips' pictures are faces.",
    )
    size: tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] = Field(
        (224, 224), description="Rows and columns of a face."
    )
    margin: float = Field(
        0.2, ge=0, le=2, description="`locate`: what is added on each side, as a share of the box's width and height."
    )
    longest: int = Field(144, ge=1, description="Faces of a clip that are kept at most, the first ones.")
    locator: str = Field(
        "blear_faces.locate:FaceLocator",
        description="`locate`: what finds faces, module:Class; its `locate(frames)` gives the largest face of each.",
    )
