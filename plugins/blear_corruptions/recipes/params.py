"""Parameters of the recipes of blind restoration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from blear.contracts import Params
from blear_corruptions.imagenet_c.params import Severity
from blear_corruptions.param_types import Weight

Share = Annotated[float, Field(gt=0, le=1)]


class RecipeParams(Params):
    """How bad a recipe may get."""

    severity: Severity | dict[Severity, Weight] = Field(
        5.0,
        description="How much of the published ranges is drawn from: 5 all of it, 1 a fifth; blur, noise and loss of "
        "resolution then end earlier, JPEG's quality begins higher. {severity: weight} is drawn from for each clip.",
    )

    @field_validator("severity")
    @classmethod
    def _drawable(cls, severity: float | dict[float, float]) -> float | dict[float, float]:
        if isinstance(severity, dict) and not sum(severity.values()) > 0:
            raise ValueError("the weights of severity are all 0; give at least one a positive weight")
        return severity

    def weights(self) -> dict[float, float]:
        """Severity -> weight, those of weight 0 left out."""
        given = self.severity if isinstance(self.severity, dict) else {self.severity: 1.0}
        return {severity: weight for severity, weight in given.items() if weight > 0}


class ScaledRecipeParams(RecipeParams):
    """A recipe that ends at a smaller size."""

    scale: float = Field(
        4.0, ge=1, le=16, description="How many times smaller frames are at the end, before they are enlarged back."
    )


class FaceRecipeParams(RecipeParams):
    """A recipe whose lengths were published for large faces."""

    reference: float = Field(
        512.0,
        gt=0,
        description="Side in pixels of the faces that blur was published for; sigmas and kernels shrink in proportion "
        "to the frames' shorter side. Loss of resolution is a ratio and stays.",
    )
    jitter: float = Field(0.3, ge=0, le=1, description="Probability that each colour channel is shifted.")
    grey: float = Field(0.01, ge=0, le=1, description="Probability that the frames lose their colour.")
