"""Parameters of loss of resolution."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from blear.contracts import Params
from blear_corruptions.param_types import Share, Weight

Factor = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Kernel = Literal["bicubic", "bilinear", "area", "lanczos", "matlab"]
_SHRINK = "Filter for shrinking (antialiased); matlab: bicubic with mirrored borders, as MATLAB's imresize."
_ENLARGE = "Filter for enlarging; area repeats pixels; matlab: as above."


class DownscaleParams(Params):
    """One factor for all clips."""

    factor: Factor = Field(
        description="Factor of shrinking before the frames are enlarged to their former size; 1 is clean."
    )
    interpolation: Kernel = Field("bicubic", description=_SHRINK)
    enlarge: Kernel = Field("bicubic", description=_ENLARGE)


class ScaleMixParams(Params):
    """A mixture of factors; one factor is drawn for each clip."""

    factors: Annotated[dict[Factor, Weight] | list[Factor], Field(min_length=1)] | None = Field(
        None, description="Factor -> weight of the mixture, or a list of factors with equal weights."
    )
    schedule: Annotated[dict[Share, dict[Factor, Weight]], Field(min_length=1)] | None = Field(
        None,
        description="In place of `factors`: fraction of the stage's steps -> mixture. Interpolated linearly between "
        "two fractions, constant before the first and after the last. An evaluation uses the last mixture.",
    )
    interpolation: Kernel = Field("bicubic", description=_SHRINK)
    enlarge: Kernel = Field("bicubic", description=_ENLARGE)
    frozen_mix: bool = Field(
        False, description="Keep each clip's first draw for all epochs, as an offline mixture does."
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
            raise ValueError("give exactly one of `factors` and `schedule`")
        for at, mixture in (self.schedule or {}).items():
            if not sum(mixture.values()) > 0:
                raise ValueError(f"schedule: at {at:g} the weights are all 0; give at least one a positive weight")
        return self

    @property
    def mixtures(self) -> dict[float, dict[float, float]]:
        """Fraction of the steps -> factor -> weight, in order; a fixed mixture has the fraction 1."""
        if self.schedule is not None:
            return {at: self.schedule[at] for at in sorted(self.schedule)}
        factors = self.factors or {}
        return {1.0: factors if isinstance(factors, dict) else dict.fromkeys(factors, 1.0)}
