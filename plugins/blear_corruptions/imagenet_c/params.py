"""Parameters of operations with severities 1 to 5: ImageNet-C and RAF-DB-C."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from blear.contracts import Params
from blear_corruptions.param_types import Per, Weight

Severity = Annotated[float, Field(ge=1, le=5)]
Table = Literal["auto", 224, 64, 32]


class SeverityParams(Params):
    """The severity of each clip, and the scope of the random patterns."""

    severity: Severity | None = Field(
        None,
        description="1 to 5 for all clips. Between two whole severities the table's numbers are interpolated linearly "
        "and counts are rounded. null: drawn for each clip from `mix`.",
    )
    mix: dict[Severity, Weight] | None = Field(
        None, description="Severity -> weight; one severity is drawn for each clip. null: 1 to 5 with equal weights."
    )
    per: Per = Field(
        "clip",
        description="Scope of one random pattern (noise, flakes, fog, direction): each frame has its own, or all "
        "frames of a clip share one. A clip always has one severity.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.mix is not None and self.severity is not None:
            raise ValueError("severity and mix exclude each other; remove one of them")
        if self.mix is not None and not sum(self.mix.values()) > 0:
            raise ValueError("the weights of mix are all 0; give at least one severity a positive weight")
        return self

    def weights(self) -> dict[float, float]:
        """Returns severity -> weight for all positive weights, mildest first."""
        if self.severity is not None:
            return {self.severity: 1.0}
        mix = self.mix or dict.fromkeys((1.0, 2.0, 3.0, 4.0, 5.0), 1.0)
        return {severity: mix[severity] for severity in sorted(mix) if mix[severity] > 0}


class ImageNetCParams(SeverityParams):
    """The severity of each clip, and the table that defines the severities."""

    table: Table = Field(
        "auto",
        description="Table of severities, named by its image side in pixels: 224 of ImageNet-C, 64 of Tiny ImageNet-C "
        "or 32 of CIFAR-10-C. auto: by the frames' shorter side, 224 from 120 pixels, 64 from 46.",
    )
