"""Parameters of the components of this plugin. Defaults are the published values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from blear.contracts import Params

Init = Literal["xavier", "gaussian"]
_SR_INIT = 'Initialisation. "gaussian": standard deviation 0.001, as published; "xavier": Caffe\'s, learns sooner'


Interpolation = Literal["bicubic", "matlab"]
_INTERPOLATION = (
    "Filter of resizing, antialiased. matlab: bicubic with mirrored borders, exactly as MATLAB's imresize, for "
    "published weights; bicubic: with renormalised weights at the borders"
)


class Avec2016Params(Params):
    """Parameters of `vlqr/avec2016`."""

    source: Path = Field(description="Folder of AVEC 2016 as received: recordings_video, ratings_gold_standard, ...")
    target: tuple[Literal["valence", "arousal"], ...] = Field(
        default=("valence",), min_length=1, description="Regression targets, each from its gold-standard folder"
    )
    boxes: Path | None = Field(
        default=None,
        description="Folder of face boxes, <video>.csv with time,left,top,width,height in pixels of the video frame, "
        "counted from 1; zeros mean no face. null: <source>/bbox",
    )
    size: int = Field(default=96, ge=8, description="Height and width of the faces in pixels")
    scene: int | None = Field(
        default=None,
        ge=8,
        description="Height and width of a larger frame around the face, which keeps `size` pixels at its centre: the "
        "video frame, resized with the face, black outside of it. For codecs, which see the whole frame. null: the "
        "face alone",
    )
    frames: int = Field(
        default=1,
        ge=1,
        le=512,
        description="Number of consecutive usable frames of a sample; its labels are those of the middle frame, its "
        "box is the mean box",
    )
    min_box: float = Field(
        default=100.0, ge=0, description="Minimum size of a face box: width and height must exceed this many pixels"
    )
    time_tolerance: Annotated[float, Field(ge=0)] | Literal["exact"] = Field(
        default=0.02,
        description='Maximum difference in seconds between a frame\'s time and its box or label; "exact" = 0',
    )
    luma: Literal["studio"] = Field(default="studio", description='Luma. "studio": BT.601 in 16..235, as published')
    precision: Literal["uint8", "float"] = Field(
        default="uint8",
        description='Type of the stored faces. "uint8": rounded to 1/255 and clipped to [0, 1]; "float": float32 with '
        "the overshoot of bicubic resizing, as published, four times as large",
    )

    interpolation: Interpolation = Field(default="bicubic", description=_INTERPOLATION)

    @field_validator("target")
    @classmethod
    def _distinct(cls, target: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(target)) != len(target):
            raise ValueError(f"names a quantity twice: {', '.join(target)}")
        return target

    @model_validator(mode="after")
    def _face_inside(self) -> Avec2016Params:
        if self.scene is not None and (self.scene < self.size or (self.scene - self.size) % 2):
            raise ValueError(f"a face of {self.size} pixels cannot be centred in a scene of {self.scene}")
        return self

    @property
    def pixels(self) -> int:
        """Height and width of a stored frame."""
        return self.size if self.scene is None else self.scene

    @property
    def tolerance(self) -> float:
        """`time_tolerance` in seconds."""
        return 0.0 if self.time_tolerance == "exact" else self.time_tolerance


class T91Params(Params):
    """Parameters of `vlqr/t91`."""

    source: Path = Field(description="Folder of training pictures (bmp, png, jpg); subfolders are ignored")
    test: Path | None = Field(default=None, description='Folder of test pictures, such as Set5: the split "dev"')
    patch: int = Field(default=32, ge=1, description="Height and width of the input patches in pixels")
    target: int = Field(default=16, ge=1, description="Height and width in pixels of the central target patch")
    stride: int = Field(default=14, ge=1, description="Grid step of the training patches in pixels")
    stride_test: int = Field(default=20, ge=1, description="Grid step of the test patches in pixels")
    factor: int = Field(
        default=12, ge=1, description="Factor of downscaling and upscaling of whole images; 1: no degradation here"
    )
    interpolation: Interpolation = Field(default="bicubic", description=_INTERPOLATION)

    @model_validator(mode="after")
    def _centred(self) -> T91Params:
        if self.target > self.patch or (self.patch - self.target) % 2:
            raise ValueError(f"target {self.target} cannot be centred in patch {self.patch}: needs an even border >= 0")
        return self


class _InputParams(Params):
    """Input normalisation: options of the published code, off by default."""

    mean: float = Field(default=0.0, description="Mean that is subtracted from the frames in [0, 1]")
    std: float = Field(default=1.0, gt=0, description="Divisor of the frames after the subtraction of the mean")


class Cnn5x5Params(_InputParams):
    """Parameters of `vlqr/cnn5x5`."""

    size: int | None = Field(
        default=None,
        ge=29,
        description="Maximum height and width of the input; larger frames, such as scenes with the face at their "
        "centre, are centre-cropped. null: no crop",
    )

    width: float = Field(
        default=1.0, gt=0, description="Multiplier of the channels 64, 128, 256 and of 300 hidden units"
    )
    dropout: float = Field(default=0.5, ge=0, lt=1, description="Dropout probability of the hidden units in training")
    init: Init = Field(
        default="xavier",
        description='Initialisation. "xavier": Caffe\'s, uniform by fan-in; "gaussian": standard deviation 0.001',
    )


class Srcnn5x5Params(_InputParams):
    """Parameters of `vlqr/srcnn5x5`."""

    width: float = Field(default=1.0, gt=0, description="Multiplier of the channels 64, 128, 256")
    init: Init = Field(default="gaussian", description=_SR_INIT)


class SuperResolutionParams(Params):
    """Parameters of `vlqr/super_resolution`."""

    init: Init = Field(default="gaussian", description=_SR_INIT)


class RegressionParams(Params):
    """Parameters of `vlqr/valence` and `vlqr/arousal`."""

    divisors: Literal["population", "repository"] = Field(
        default="population",
        description='Divisors of CCC and CC. "population": n, the textbook\'s; "repository": n for the covariance and '
        "n - 1 for the variances, as in the authors' script run_eval.m",
    )
