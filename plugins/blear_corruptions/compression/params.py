"""Parameters of compression. A strength is one number, or [lowest, highest], drawn for each clip."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from blear_corruptions.param_types import StrengthParams

Quality = Annotated[float, Field(ge=1, le=99)]


class SoftJpegParams(StrengthParams):
    """Differentiable JPEG."""

    quality: Quality | tuple[Quality, Quality] = Field(
        50.0, description="libjpeg's quality; need not be a whole number."
    )
