"""What a job may set for the augmentations of FER-VGG-GRU, which are drawn for each frame or for each clip."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blear.contracts import Params

Pixels = Annotated[int, Field(ge=1)]
Per = Literal["frame", "clip"]
_PER = "What one draw is for: each frame alone, or all frames of a clip alike."


class ResizeParams(Params):
    """One size for all frames."""

    size: Pixels | tuple[Pixels, Pixels] = Field(
        description="Rows and columns; one number: of the shorter side, the other follows."
    )


class RandomBoxParams(Params):
    """Cropping by borders that move."""

    move: float = Field(
        0.2, ge=0, lt=0.5, description="Largest move of each border, inwards or outwards, as a share of the side."
    )
    size: tuple[Pixels, Pixels] | None = Field(
        None, description="Rows and columns that the box is resized to; null: those of the frames."
    )
    per: Per = Field("frame", description=_PER)


class HsvJitterParams(Params):
    """Jitter of hue, saturation and value."""

    hue: float = Field(0.1, ge=0, le=0.5, description="Largest shift of the hue either way, as a share of the circle.")
    saturation: float = Field(1.5, ge=1, description="Largest factor u; saturation is multiplied by u or by 1 / u.")
    value: float = Field(1.5, ge=1, description="Largest factor u; value is multiplied by u or by 1 / u.")
    per: Per = Field("frame", description=_PER)
