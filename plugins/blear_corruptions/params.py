"""What a job may set for each component of this plugin."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from blear.contracts import Params

Factor = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Kernel = Literal["bicubic", "bilinear", "area", "lanczos"]
_SHRINK = "How frames shrink (antialiased)."
_ENLARGE = "How they are enlarged back; area repeats what it has."


class DownscaleParams(Params):
    """One factor for all clips."""

    factor: Factor = Field(
        description="How many times smaller the frames get before they are enlarged back; 1 is clean."
    )
    interpolation: Kernel = Field("bicubic", description=_SHRINK)
    enlarge: Kernel = Field("bicubic", description=_ENLARGE)


class ScaleMixParams(Params):
    """A mixture of factors, one drawn for each clip."""

    factors: Annotated[dict[Factor, Weight] | list[Factor], Field(min_length=1)] | None = Field(
        None, description="Factor -> weight of the mixture, or a list of factors with equal weights."
    )
    schedule: Annotated[dict[Share, dict[Factor, Weight]], Field(min_length=1)] | None = Field(
        None,
        description="In place of `factors`: fraction of the stage's steps -> mixture; in lines between two, constant "
        "outside them; in evaluation the last one.",
    )
    interpolation: Kernel = Field("bicubic", description=_SHRINK)
    enlarge: Kernel = Field("bicubic", description=_ENLARGE)
    frozen_mix: bool = Field(
        False, description="Keep each clip's first draw for all epochs, as a mixture made offline would."
    )

    @field_validator("factors")
    @classmethod
    def _drawable(cls, factors: dict[float, float] | list[float] | None) -> dict[float, float] | list[float] | None:
        if isinstance(factors, dict) and not sum(factors.values()) > 0:
            raise ValueError("the weights of the factors are all 0; give at least one a positive weight")
        if factors is not None and len(set(factors)) < len(factors):
            raise ValueError("a factor is listed twice; write {factor: weight} to prefer one")
        return factors

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.factors is None) == (self.schedule is None):
            raise ValueError("give `factors` or `schedule`, one of them")
        for at, mixture in (self.schedule or {}).items():
            if not sum(mixture.values()) > 0:
                raise ValueError(f"schedule: at {at:g} the weights are all 0; give at least one a positive weight")
        return self

    @property
    def mixtures(self) -> dict[float, dict[float, float]]:
        """Fraction of the steps -> factor -> weight, in order; of a fixed mixture the fraction is 1."""
        if self.schedule is not None:
            return {at: self.schedule[at] for at in sorted(self.schedule)}
        factors = self.factors or {}
        return {1.0: factors if isinstance(factors, dict) else dict.fromkeys(factors, 1.0)}


class RandomFlipParams(Params):
    """Mirroring."""

    p: float = Field(0.5, ge=0, le=1, description="Probability that a clip, or a frame, is mirrored left to right.")
    per: Literal["clip", "frame"] = Field(
        "clip", description="What one draw is for: all frames of a clip alike, or each frame alone."
    )


class RandomCropParams(Params):
    """Cropping."""

    size: int = Field(ge=1, description="Rows and columns of the square that is kept, in pixels.")
    tested: Literal["crop", "resize"] = Field(
        "crop", description="What evaluation does in its place: the centre crop, or the whole frame resized to `size`."
    )


class RandomShiftParams(Params):
    """Shifting by whole pixels."""

    pixels: int = Field(
        ge=0, description="Largest shift in each direction, in pixels; whole pixels are drawn uniformly."
    )


class RandomAffineParams(Params):
    """Small rotation, scale and shift in one resampling."""

    degrees: float = Field(0.0, ge=0, le=180, description="Largest rotation either way, in degrees.")
    translate: float = Field(0.0, ge=0, le=1, description="Largest shift either way, as a share of width and height.")
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = Field(
        (1.0, 1.0), description="Smallest and largest magnification."
    )

    @field_validator("scale")
    @classmethod
    def _ascending(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError("the smallest magnification is above the largest; swap them")
        return scale
