"""Parameters of operations with severities 1 to 5: ImageNet-C, and RAF-DB-C."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from blear.contracts import Params
from blear_corruptions.param_types import Per, Weight

Severity = Annotated[float, Field(ge=1, le=5)]
Table = Literal["auto", 224, 64, 32]


class SeverityParams(Params):
    """A severity for each clip, and what the randomness is for."""

    severity: Severity | None = Field(
        None,
        description="1 to 5 for all clips; between two whole ones the table's numbers are interpolated linearly "
        "(counts are then rounded). null: drawn for each clip by `mix`.",
    )
    mix: dict[Severity, Weight] | None = Field(
        None, description="Severity -> weight, one drawn for each clip; null: 1 to 5 with equal weights."
    )
    per: Per = Field(
        "clip",
        description="What one random pattern (noise, flakes, fog, direction) is for: each frame alone, or all frames "
        "of a clip alike. The severity is one for each clip.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.mix is not None and self.severity is not None:
            raise ValueError("severity fixes what mix would draw; give one of them")
        if self.mix is not None and not sum(self.mix.values()) > 0:
            raise ValueError("the weights of mix are all 0; give at least one severity a positive weight")
        return self

    def weights(self) -> dict[float, float]:
        """Severity -> weight, those of weight 0 left out, mildest first."""
        if self.severity is not None:
            return {self.severity: 1.0}
        mix = self.mix or dict.fromkeys((1.0, 2.0, 3.0, 4.0, 5.0), 1.0)
        return {severity: mix[severity] for severity in sorted(mix) if mix[severity] > 0}


class ImageNetCParams(SeverityParams):
    """Severity, and the table that says what it means."""

    table: Table = Field(
        "auto",
        description="Side in pixels of the pictures that the table of severities is for: ImageNet-C's 224, Tiny "
        "ImageNet-C's 64 or CIFAR-10-C's 32; auto: by the frames' shorter side, 224 from 120 pixels, 64 from 46.",
    )
