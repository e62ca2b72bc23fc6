"""Parameters of the datasets of this plugin. Defaults are the choices of section 7 of the spec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from blear.contracts import Params
from blear.imaging import Framing

INDEXED_WINDOW, INDEXED_MARGIN = (-2, -1, 0, 1), 0.3
"""Window (frames relative to the key frame) and crop margin of the faces in the authors' index of Friends."""


class CropParams(Params):
    """Parameters of the face crop, common to all datasets of this plugin."""

    size: int = Field(224, ge=8, description="Height and width in pixels of the square face crop")
    margin: float = Field(
        0.5,
        ge=0,
        description="Margin of the crop: its side is sqrt((w + m)(h + m)) with m = margin (w + h) and a box of w x h. "
        "Published: 0.5; for Friends 0.3",
    )
    legacy_square: bool = Field(False, description="Side w + m instead, as the published stage 1 has it")
    room: float = Field(
        1.0,
        ge=1,
        le=4,
        description="Side of the stored crop as a multiple of the face crop (size x room pixels). Augmentations "
        "can then shift and scale the crop without padding; 1.3 is enough for shifts and scales of 10 %",
    )

    @property
    def pixels(self) -> int:
        """Height and width of the stored crop in pixels."""
        return round(self.size * self.room)

    @property
    def framing(self) -> Framing | None:
        """How faces are cut out of their pictures; None with `legacy_square`, whose formula lacks the height."""
        return None if self.legacy_square else Framing(margin=self.margin, crop_scale=self.room)


class StillParams(CropParams):
    """Parameters common to AffectNet and RAF."""

    pool_splits: bool = Field(
        False, description="All samples are in the split train, as published; otherwise the official splits"
    )
    padding: Literal["mean", "black"] = Field(
        "mean",
        description="Padding of crops beyond the image border in the split train: mean colour or black. The "
        "other splits are padded with black",
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
    affectnet: Path | None = Field(None, description="Folder of AffectNet; null: <source>/affectnet")
    raf: Path | None = Field(None, description="Folder of RAF's packages; null: <source>/raf")
    packages: tuple[Literal["basic", "compound", "multi"], ...] = Field(
        ("basic", "compound", "multi"), min_length=1, description="Packages of RAF that are read, in this order"
    )


class FriendsParams(CropParams):
    """Parameters of `vtt/friends`."""

    source: Path = Field(
        description="Folder of epNN/%05d.jpg (all frames, numbered from 0) and s01_epNN_tag2_visual_*.json"
    )
    frames: Path | None = Field(None, description="Folder of the epNN folders; null: `source`")
    index: Path | None = Field(
        None,
        description="The authors' friends_parsed_new.npy. If set, the face crops listed in it are read instead of the "
        "annotations; margin must be 0.3. Their folders epNN_p_img lie beside the epNN folders",
    )
    dev: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (9, 10), min_length=1, description="Episodes of the split dev; 1 to 10: there is no split train"
    )
    all_episodes: bool = Field(False, description="Train on the episodes of dev too, as published")
    window: tuple[int, ...] = Field(
        (-2, -1, 0, 1), min_length=1, description="Frames of a clip relative to the key frame; [0]: stills"
    )

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if list(self.window) != sorted(set(self.window)):
            raise ValueError("the frames of the window must be in ascending order")
        return self

    @model_validator(mode="after")
    def _as_cut(self) -> Self:
        if self.index is not None:
            if self.margin != INDEXED_MARGIN or self.legacy_square or self.room != 1:
                raise ValueError(f"faces of the index are already cropped: set margin to {INDEXED_MARGIN}, and no room")
            if not set(self.window) <= set(INDEXED_WINDOW):
                raise ValueError(f"the index has only the frames {list(INDEXED_WINDOW)}: choose the window from these")
        return self


class CkPlusParams(CropParams):
    """Parameters of `vtt/ckplus`."""

    source: Path = Field(description="Folder of CK+: cohn-kanade-images, Emotion and Landmarks")
    apex: int = Field(
        3, ge=1, description="Number of last frames of a sequence that have its label. The first frame is neutral"
    )
    contempt: bool = Field(False, description="Keep contempt as an eighth class; otherwise its sequences are left out")
    folds: int = Field(10, ge=2, description="Number of cross-validation folds (groups of subjects)")
    fold: int = Field(0, ge=0, description="Index of the fold that is the split dev, from 0")
    crop: Literal["landmarks", "whole"] = Field(
        "landmarks", description="Face box. landmarks: bounding box of the frame's 68 landmarks; whole: central square"
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
