"""Parameters of the geometric augmentations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from blear.contracts import Params
from blear_corruptions.param_types import PER_DRAW, Per

WholePixels = Annotated[int, Field(ge=1)]


class RandomFlipParams(Params):
    """Random mirroring."""

    p: float = Field(0.5, ge=0, le=1, description="Probability that a clip, or a frame, is mirrored left to right.")
    per: Literal["clip", "frame"] = Field(
        "clip", description="Scope of one random draw: all frames of a clip share one, or each frame has its own."
    )


class RandomCropParams(Params):
    """Random crop of a square."""

    size: int = Field(ge=1, description="Rows and columns of the square that is kept, in pixels.")
    tested: Literal["crop", "resize"] = Field(
        "crop",
        description="Operation of an evaluation in its place: the centre crop, or the whole frame resized to `size`.",
    )


class RandomShiftParams(Params):
    """Random shift by whole pixels."""

    pixels: int = Field(
        ge=0, description="Largest shift in each direction, in pixels; whole pixels are drawn uniformly."
    )


class RandomAffineParams(Params):
    """Small rotation, scale and shift in one resampling."""

    degrees: float = Field(0.0, ge=0, le=180, description="Largest rotation in either direction, in degrees.")
    translate: float = Field(
        0.0, ge=0, le=1, description="Largest shift in either direction, as a share of width and height."
    )
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = Field(
        (1.0, 1.0), description="Smallest and largest magnification."
    )

    @field_validator("scale")
    @classmethod
    def _ascending(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError("the smallest magnification is above the largest; swap them")
        return scale


class ResizeParams(Params):
    """Resize to one size."""

    size: WholePixels | tuple[WholePixels, WholePixels] = Field(
        description="Rows and columns in pixels; one number: length of the shorter side, with the aspect ratio kept."
    )


class RandomBoxParams(Params):
    """Crop of a box with random borders."""

    move: float = Field(
        0.2, ge=0, lt=0.5, description="Largest move of each border, inwards or outwards, as a share of the side."
    )
    size: tuple[WholePixels, WholePixels] | None = Field(
        None, description="Rows and columns of the resized box, in pixels; null: those of the frames."
    )
    per: Per = Field("frame", description=PER_DRAW)
