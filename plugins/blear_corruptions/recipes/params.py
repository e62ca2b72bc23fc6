"""Parameters of the recipes of blind restoration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from blear.contracts import Params
from blear_corruptions.imagenet_c.params import Severity
from blear_corruptions.param_types import Weight

Share = Annotated[float, Field(gt=0, le=1)]


class RecipeParams(Params):
    """Severity of a recipe."""

    severity: Severity | dict[Severity, Weight] = Field(
        5.0,
        description="Share of the published ranges: 5 is the whole range, 1 a fifth. A lower severity limits blur, "
        "noise and loss of resolution, and raises JPEG's lowest quality. {severity: weight}: drawn for each clip.",
    )

    @field_validator("severity")
    @classmethod
    def _drawable(cls, severity: float | dict[float, float]) -> float | dict[float, float]:
        if isinstance(severity, dict) and not sum(severity.values()) > 0:
            raise ValueError("the weights of severity are all 0; give at least one a positive weight")
        return severity

    def weights(self) -> dict[float, float]:
        """Returns severity -> weight for all positive weights."""
        given = self.severity if isinstance(self.severity, dict) else {self.severity: 1.0}
        return {severity: weight for severity, weight in given.items() if weight > 0}


class ScaledRecipeParams(RecipeParams):
    """A recipe whose last frames are smaller, before they are enlarged."""

    scale: float = Field(
        4.0,
        ge=1,
        le=16,
        description="Factor between the given frames and the small frames at the end, before they are enlarged.",
    )


class FaceRecipeParams(RecipeParams):
    """A recipe with lengths that were published for large faces."""

    reference: float = Field(
        512.0,
        gt=0,
        description="Side in pixels of the faces for which the blur was published. Sigmas and kernels are scaled to "
        "the frames' shorter side. Loss of resolution is a ratio and is not scaled.",
    )
    jitter: float = Field(0.3, ge=0, le=1, description="Probability that each colour channel is shifted.")
    grey: float = Field(0.01, ge=0, le=1, description="Probability that a clip becomes grey.")
