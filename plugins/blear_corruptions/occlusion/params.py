"""Parameters of what covers the face. A strength is one number, or [lowest, highest], drawn for each clip."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blear_corruptions.param_types import Per, Pixels, Share, StrengthParams

Aspect = Annotated[float, Field(ge=0.1, le=10)]
Fill = Literal["black", "grey", "white", "mean", "noise"]
_FILL = "What covers the face: a value, the frame's own mean colour, or noise of uniform values."


class _Cover(StrengthParams):
    fill: Fill = Field("black", description=_FILL)
    per: Per = Field("clip", description="What one place is drawn for: each frame alone, or a clip.")


class OcclusionParams(_Cover):
    """Rectangles before the face."""

    area: Share | tuple[Share, Share] = Field(0.1, description="Share of the frame that the rectangles have together.")
    aspect: Aspect | tuple[Aspect, Aspect] = Field(1.0, description="Height over width; 1: squares.")
    count: int = Field(1, ge=1, le=16, description="How many; they may overlap.")
    move: Pixels | tuple[Pixels, Pixels] = Field(
        0.0, description="Pixels from frame to frame of a clip, in a direction drawn for each; back at the border."
    )


class BarsParams(_Cover):
    """Parallel bars before the face."""

    share: Share | tuple[Share, Share] = Field(0.3, description="Share of the frame that the bars cover.")
    count: int = Field(4, ge=1, le=64, description="Bars in the frame.")
    run: Literal["rows", "columns"] = Field("columns", description="Bars of whole rows, or of whole columns.")
    move: Pixels | tuple[Pixels, Pixels] = Field(0.0, description="Pixels from frame to frame of a clip.")


class FaceBandParams(_Cover):
    """Sunglasses or a mask on an aligned face."""

    part: Literal["eyes", "mouth"] = Field(
        "eyes", description="Sunglasses: from 22 to 46 % of the height; a mask: from 54 to 100 %."
    )
    cover: Share | tuple[Share, Share] = Field(1.0, description="Share of the band that is covered, from its middle.")


class PatchesParams(_Cover):
    """Missing squares of a grid."""

    share: Share | tuple[Share, Share] = Field(0.25, description="Probability that a square is covered.")
    grid: int = Field(8, ge=2, le=64, description="Squares in a row and in a column.")
