"""Parameters of occlusion. A strength is one number, or [lowest, highest], drawn for each clip."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blear_corruptions.param_types import Per, Pixels, Share, StrengthParams

Aspect = Annotated[float, Field(ge=0.1, le=10)]
Fill = Literal["black", "grey", "white", "mean", "noise"]
_FILL = "Filling of the cover: one value, the frame's mean colour, or uniform noise."


class _Cover(StrengthParams):
    fill: Fill = Field("black", description=_FILL)
    per: Per = Field(
        "clip", description="Scope of one random position: each frame has its own, or all frames of a clip share one."
    )


class OcclusionParams(_Cover):
    """Rectangles in front of the face."""

    area: Share | tuple[Share, Share] = Field(
        0.1, description="Area of all rectangles together, as a share of the frame."
    )
    aspect: Aspect | tuple[Aspect, Aspect] = Field(1.0, description="Height over width; 1: squares.")
    count: int = Field(1, ge=1, le=16, description="Number of rectangles; rectangles may overlap.")
    move: Pixels | tuple[Pixels, Pixels] = Field(
        0.0,
        description="Motion in pixels per frame, in a random direction for each rectangle; reflected at the border.",
    )


class BarsParams(_Cover):
    """Parallel bars in front of the face."""

    share: Share | tuple[Share, Share] = Field(0.3, description="Share of the frame that the bars cover.")
    count: int = Field(4, ge=1, le=64, description="Number of bars in the frame.")
    run: Literal["rows", "columns"] = Field(
        "columns", description="Direction of the bars: whole rows, or whole columns."
    )
    move: Pixels | tuple[Pixels, Pixels] = Field(0.0, description="Motion in pixels per frame.")


class FaceBandParams(_Cover):
    """Sunglasses or a mask on an aligned face."""

    part: Literal["eyes", "mouth"] = Field(
        "eyes", description="eyes: sunglasses, from 22 to 46 % of the height; mouth: a mask, from 54 to 100 %."
    )
    cover: Share | tuple[Share, Share] = Field(1.0, description="Share of the band's height that is covered, centred.")


class PatchesParams(_Cover):
    """Missing squares of a grid."""

    share: Share | tuple[Share, Share] = Field(0.25, description="Probability that a square is covered.")
    grid: int = Field(8, ge=2, le=64, description="Number of squares in a row and in a column.")
