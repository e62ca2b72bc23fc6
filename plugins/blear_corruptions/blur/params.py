"""Parameters of blur. A strength is one number, or [lowest, highest], drawn for each clip."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from blear.contracts import Params
from blear_corruptions.param_types import Pixels, StrengthParams

Width = Annotated[float, Field(ge=1, le=256)]
Length = Annotated[float, Field(ge=1, le=64)]
Degrees = Annotated[float, Field(ge=-360, le=360)]
Kernel = Annotated[int, Field(ge=1, le=63)]


class BlurParams(StrengthParams):
    """Gaussian blur."""

    sigma: Pixels | tuple[Pixels, Pixels] = Field(2.0, description="Standard deviation in pixels; 0 is clean.")


class BoxBlurParams(StrengthParams):
    """Box blur."""

    width: Width | tuple[Width, Width] = Field(
        3.0, description="Side of the box in pixels; need not be a whole number; 1 is clean."
    )


class LineBlurParams(StrengthParams):
    """Blur of a straight motion."""

    length: Length | tuple[Length, Length] = Field(
        7.0, description="Pixels that a point moves during the exposure; 1 is nearly clean."
    )
    angle: Degrees | tuple[Degrees, Degrees] = Field(
        (0.0, 180.0), description="Direction in degrees, clockwise from the right."
    )


class RandomBlurParams(Params):
    """Gaussian blur."""

    p: float = Field(0.1, ge=0, le=1, description="Probability that a clip is blurred.")
    kernels: tuple[Kernel, ...] = Field(
        (3, 5, 7, 9), min_length=1, description="Odd kernel sizes in pixels; height and width are drawn independently."
    )

    @field_validator("kernels")
    @classmethod
    def _odd(cls, kernels: tuple[int, ...]) -> tuple[int, ...]:
        even = [kernel for kernel in kernels if kernel % 2 == 0]
        if even:
            raise ValueError(f"kernel sizes must be odd; replace {', '.join(map(str, even))}")
        return kernels
