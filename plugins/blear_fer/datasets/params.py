"""Parameters of the datasets of this plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from blear.contracts import Params

Split = Literal["train", "dev"]
Protocol = Literal["official", "fer_vgg_gru"]
_SOURCE = (
    "fer2013.csv, icml_face_data.csv, or a folder that holds one of them, faces.zip with labels.csv, or class folders "
    "under train/ and test/, called by the seven names or by FER2013's numbers 0 to 6."
)


class Fer2013Params(Params):
    """Parameters of `fer/fer2013`."""

    source: Path = Field(description=_SOURCE)
    protocol: Protocol = Field(
        "official",
        description="Assignment of usages to splits. official: train = Training, dev = PublicTest, test = PrivateTest. "
        "fer_vgg_gru: train = Training and PublicTest, dev = PrivateTest; that system also selected its model on "
        "PrivateTest.",
    )
    holdout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the training pictures that form the split `holdout` in place of `train`. The pixels "
        "alone decide: copies of a picture are in one split.",
    )
    votes: Path | None = Field(
        None,
        description="fer2013new.csv of FERPlus: adds the target `votes`, the shares of ten people's votes for each "
        "row. null: no such target.",
    )


class FerplusParams(Params):
    """Parameters of `fer/ferplus`."""

    source: Path = Field(description=f"The pictures: {_SOURCE} Class folders cannot be joined with the votes.")
    votes: Path | None = Field(
        None, description="fer2013new.csv of FERPlus. null: fer2013new.csv or labels.csv in the folder of the pictures."
    )
    labels: Literal["majority"] = Field(
        "majority",
        description="Label from votes. majority: classes with a single vote are ignored; the label is the class with "
        "more than half of the remaining votes.",
    )


class AfewParams(Params):
    """Parameters of `fer/afew`."""

    source: Path = Field(
        description="Folder of Train_AFEW (or Train_AFEW_all, Train) and Val_AFEW (or Val), each with videos "
        "<Emotion>/<id>.avi (or mkv, mp4, ...), folders of pictures <Emotion>/<id>/, or extracted faces "
        "Emotiw-faces/<Emotion>/<id>/images0001.jpg. Without Train_AFEW: a folder Emotiw-faces of all clips; the lists "
        "Emotiw_TRAIN.txt and Emotiw_VAL.txt beside it, or in TrainTestlist/Emotiw, are its splits, else all clips are "
        "train."
    )
    lists: dict[Split, Path] = Field(
        default_factory=dict,
        description="Split -> file with the list of its clips, instead of the split's folder. Lines are "
        "`<folder> <Emotion>`; folders are relative to `source`, or paths of another machine whose end is below it. "
        "Not needed for Emotiw_TRAIN.txt and Emotiw_VAL.txt.",
    )
    unit: Literal["clip", "frame"] = Field(
        "clip", description="Unit of a sample. clip: all faces of a clip. frame: one face; `video` names the clip."
    )
    faces: Literal["locate", "aligned", "given"] = Field(
        "locate",
        description="Source of the faces. locate: the largest detected face of each frame; without any, "
        "the organisers' aligned faces; pictures in Emotiw-faces are faces already. aligned: the organisers' aligned "
        "faces. given: the pictures are faces.",
    )
    size: tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] = Field(
        (224, 224), description="Height and width of a face in pixels."
    )
    margin: float = Field(
        0.2, ge=0, le=2, description="`locate`: margin on each side, as a fraction of the box's width and height."
    )
    longest: int = Field(144, ge=1, description="Maximum number of faces of a clip; later faces are left out.")
    locator: str = Field(
        "blear_faces.locate:FaceLocator",
        description="`locate`: face detector, module:Class. Its method `locate(frames)` returns the largest "
        "face of each frame.",
    )
