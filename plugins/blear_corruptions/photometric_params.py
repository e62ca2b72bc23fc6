"""What a job may set for the photometric augmentations; the defaults are VTT's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from blear.contracts import Params

Kernel = Annotated[int, Field(ge=1, le=63)]


class _Sometimes(Params):
    p: float = Field(0.1, ge=0, le=1, description="Probability that a clip is changed.")


class RandomNoiseParams(_Sometimes):
    """Gaussian noise."""

    std: float = Field(0.05, ge=0, description="Largest standard deviation; drawn uniformly from 0 for each clip.")
    grey: float = Field(0.5, ge=0, le=1, description="Share of the noisy clips whose channels get the same noise.")
    per_frame: bool = Field(False, description="New noise in every frame of a clip instead of the same in all.")


class RandomBrightnessParams(_Sometimes):
    """A constant added to all pixels."""

    offset: float = Field(0.01, ge=0, description="Largest offset either way; drawn uniformly for each clip.")


class RandomBlurParams(_Sometimes):
    """Gaussian blur."""

    kernels: tuple[Kernel, ...] = Field(
        (3, 5, 7, 9), min_length=1, description="Odd kernel sizes in pixels; height and width are drawn apart."
    )

    @field_validator("kernels")
    @classmethod
    def _odd(cls, kernels: tuple[int, ...]) -> tuple[int, ...]:
        even = [kernel for kernel in kernels if kernel % 2 == 0]
        if even:
            raise ValueError(f"a kernel has a middle only if its size is odd: {', '.join(map(str, even))}")
        return kernels
