"""The keys that a job may give to each component of this plugin; defaults are the published values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from blear.contracts import Params

Init = Literal["xavier", "gaussian"]


class Avec2016Params(Params):
    """Parameters of `vlqr/avec2016`."""

    source: Path = Field(description="Folder of AVEC 2016 as received: recordings_video, ratings_gold_standard, ...")
    target: tuple[Literal["valence", "arousal"], ...] = Field(
        default=("valence",), min_length=1, description="Quantities to read, each from its folder of the gold standard"
    )
    boxes: Path | None = Field(
        default=None,
        description="Folder of <video>.csv with time,left,top,width,height: pixels of the native frame, 1-based, "
        "zeros = no face; left out: <source>/bbox",
    )
    size: int = Field(default=96, ge=8, description="Height and width of the faces in pixels")
    min_box: float = Field(
        default=100.0, ge=0, description="Frames whose box is not wider and higher than this many pixels are left out"
    )
    time_tolerance: Annotated[float, Field(ge=0)] | Literal["exact"] = Field(
        default=0.02, description='Seconds by which box and gold-standard times may miss the frame\'s; "exact" = 0'
    )
    luma: Literal["studio"] = Field(
        default="studio", description='Range of the luma: "studio" is BT.601 in 16..235, as published'
    )
    precision: Literal["uint8", "float"] = Field(
        default="uint8",
        description='"uint8": faces rounded to 1/255 and clipped to [0, 1]; "float": float32 with the overshoot of '
        "bicubic resizing kept, as published, four times as large",
    )

    @field_validator("target")
    @classmethod
    def _distinct(cls, target: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(target)) != len(target):
            raise ValueError(f"names a quantity twice: {', '.join(target)}")
        return target

    @property
    def tolerance(self) -> float:
        """`time_tolerance` in seconds."""
        return 0.0 if self.time_tolerance == "exact" else self.time_tolerance


class T91Params(Params):
    """Parameters of `vlqr/t91`."""

    source: Path = Field(description="Folder of training pictures (bmp, png, jpg); sub-folders are not read")
    test: Path | None = Field(default=None, description='Folder of test pictures, such as Set5: the split "dev"')
    patch: int = Field(default=32, ge=1, description="Height and width of the input patches in pixels")
    target: int = Field(default=16, ge=1, description="Height and width of the central part that is reconstructed")
    stride: int = Field(default=14, ge=1, description="Grid step of the training patches in pixels")
    stride_test: int = Field(default=20, ge=1, description="Grid step of the test patches in pixels")
    factor: int = Field(
        default=12, ge=1, description="Whole pictures are shrunk and enlarged by this; 1 leaves that to the job"
    )

    @model_validator(mode="after")
    def _centred(self) -> T91Params:
        if self.target > self.patch or (self.patch - self.target) % 2:
            raise ValueError(f"target {self.target} cannot be centred in patch {self.patch}: needs an even border >= 0")
        return self


class _InputParams(Params):
    """The switches of the published code for its input, off by default."""

    mean: float = Field(default=0.0, description="Subtracted from the frames, which are in [0, 1]")
    std: float = Field(default=1.0, gt=0, description="The frames are divided by this after the mean is subtracted")


class Cnn5x5Params(_InputParams):
    """Parameters of `vlqr/cnn5x5`."""

    width: float = Field(default=1.0, gt=0, description="Multiplies the channels 64, 128, 256 and the 300 hidden units")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="Share of hidden units dropped in training")
    init: Init = Field(
        default="xavier", description='"xavier": Caffe\'s, uniform by fan-in; "gaussian": deviation 0.001'
    )


class Srcnn5x5Params(_InputParams):
    """Parameters of `vlqr/srcnn5x5`."""

    width: float = Field(default=1.0, gt=0, description="Multiplies the channels 64, 128, 256")
    init: Init = Field(
        default="gaussian", description='"gaussian": deviation 0.001, as published; "xavier": Caffe\'s, learns sooner'
    )


class SuperResolutionParams(Params):
    """Parameters of `vlqr/super_resolution`."""

    init: Init = Field(
        default="gaussian", description='"gaussian": deviation 0.001, as published; "xavier": Caffe\'s, learns sooner'
    )


class RegressionParams(Params):
    """Parameters of `vlqr/valence` and `vlqr/arousal`: none."""
