"""What a job may set for this plugin's datasets; the defaults are the choices of the spec's section 7."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from blear.contracts import Params

INDEXED_WINDOW, INDEXED_MARGIN = (-2, -1, 0, 1), 0.3
"""What the authors' index of Friends holds: frames about the key frame, and how the faces are cut."""


class CropParams(Params):
    """How faces are cut, shared by all datasets of this plugin."""

    size: int = Field(224, ge=8, description="Height and width in pixels of the exact square around a face")
    margin: float = Field(
        0.5,
        ge=0,
        description="m = margin (w + h) in the side sqrt((w + m)(h + m)) of the square; published: 0.5, Friends 0.3",
    )
    legacy_square: bool = Field(False, description="Side w + m instead, as the published stage 1 has it")
    room: float = Field(
        1.0,
        ge=1,
        le=4,
        description="Pictures are stored this much larger about the exact square (size x room pixels), so that "
        "training can shift and scale them within the real surroundings; 1.3 holds shifts and scales of 10 %",
    )

    @property
    def pixels(self) -> int:
        """Height and width of the stored pictures."""
        return round(self.size * self.room)


class StillParams(CropParams):
    """What AffectNet and RAF share."""

    pool_splits: bool = Field(False, description="One split of everything, as published; otherwise the official splits")
    padding: Literal["mean", "black"] = Field(
        "mean", description="What lies outside the image, in the training split; black in the others"
    )


class AffectNetParams(StillParams):
    """Parameters of `vtt/affectnet`."""

    source: Path = Field(
        description="Folder of AffectNet: training.csv, validation.csv and Manually_Annotated_Images, or the 8-label "
        "release's train_set and val_set"
    )


class RafParams(StillParams):
    """Parameters of `vtt/raf`."""

    source: Path = Field(description="Folder that holds RAF's packages: basic, compound, multi")
    packages: tuple[Literal["basic", "compound", "multi"], ...] = Field(
        ("basic", "compound", "multi"), min_length=1, description="Packages that are read, in this order"
    )


class StillsParams(StillParams):
    """Parameters of `vtt/stills`."""

    source: Path = Field(description="Folder that holds affectnet/ and raf/, each as for its own dataset")
    affectnet: Path | None = Field(None, description="Folder of AffectNet where it is another one")
    raf: Path | None = Field(None, description="Folder of RAF's packages where it is another one")
    packages: tuple[Literal["basic", "compound", "multi"], ...] = Field(
        ("basic", "compound", "multi"), min_length=1, description="Packages of RAF that are read, in this order"
    )


class FriendsParams(CropParams):
    """Parameters of `vtt/friends`."""

    source: Path = Field(
        description="Folder of epNN/%05d.jpg (all frames, numbered from 0) and s01_epNN_tag2_visual_*.json"
    )
    frames: Path | None = Field(None, description="Folder of the epNN folders where it is another one")
    index: Path | None = Field(
        None,
        description="The authors' friends_parsed_new.npy: the faces that it names are read as they were cut (set "
        "margin to 0.3), in place of the annotations; their epNN_p_img folders lie beside the epNN folders",
    )
    dev: tuple[Annotated[int, Field(ge=1)], ...] = Field((9, 10), min_length=1, description="Episodes of the split dev")
    all_episodes: bool = Field(False, description="Train on the episodes of dev too, as published")
    window: tuple[int, ...] = Field(
        (-2, -1, 0, 1), min_length=1, description="Frames of a clip, counted from the key frame; [0] gives stills"
    )

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if list(self.window) != sorted(set(self.window)):
            raise ValueError("the frames of the window must ascend")
        return self

    @model_validator(mode="after")
    def _as_cut(self) -> Self:
        if self.index is not None:
            if self.margin != INDEXED_MARGIN or self.legacy_square or self.room != 1:
                raise ValueError(f"the faces of the index are cut already: set margin to {INDEXED_MARGIN}, and no room")
            if not set(self.window) <= set(INDEXED_WINDOW):
                raise ValueError(f"the index has the frames {list(INDEXED_WINDOW)}: choose the window among them")
        return self


class CkPlusParams(CropParams):
    """Parameters of `vtt/ckplus`."""

    source: Path = Field(description="Folder of CK+: cohn-kanade-images, Emotion and Landmarks")
    apex: int = Field(3, ge=1, description="Last frames of a sequence that carry its label; the first one is neutral")
    contempt: bool = Field(False, description="Keep contempt as an eighth class; otherwise its sequences are left out")
    folds: int = Field(10, ge=2, description="Groups of subjects")
    fold: int = Field(0, ge=0, description="The group that is the split dev; from 0")
    crop: Literal["landmarks", "whole"] = Field(
        "landmarks", description="landmarks: the box around a frame's 68 landmarks; whole: the central square"
    )

    @model_validator(mode="after")
    def _a_fold(self) -> Self:
        if self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds}: the last one is {self.folds - 1}")
        return self


class AnotherMissOhParams(CropParams):
    """Parameters of `vtt/another_missoh`."""

    source: Path = Field(description="Folder of AnotherMissOh_Visual_full.json and AnotherMissOh_images")
    dev: tuple[Annotated[int, Field(ge=1)], ...] = Field((7, 8), min_length=1, description="Episodes of the split dev")
