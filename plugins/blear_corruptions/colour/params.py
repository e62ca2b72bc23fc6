"""Parameters of light and colour. A strength is one number, or [lowest, highest], drawn for each clip."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from blear.contracts import Params
from blear_corruptions.param_types import PER_DRAW, Per, StrengthParams

Kelvin = Annotated[float, Field(ge=2000, le=25000)]
Gain = Annotated[float, Field(ge=0, le=8)]
Degrees = Annotated[float, Field(ge=-360, le=360)]


class WhiteBalanceParams(StrengthParams):
    """Colour temperature of the light."""

    kelvin: Kelvin | tuple[Kelvin, Kelvin] = Field(
        (2500.0, 10000.0),
        description="Colour temperature of the light in kelvin, for a camera set to 6500 K; lower is warmer.",
    )


class ChannelGainParams(StrengthParams):
    """A factor for each channel."""

    red: Gain | tuple[Gain, Gain] = Field((0.8, 1.2), description="Factor of the red values.")
    green: Gain | tuple[Gain, Gain] = Field((0.8, 1.2), description="Factor of the green values.")
    blue: Gain | tuple[Gain, Gain] = Field((0.8, 1.2), description="Factor of the blue values.")


class SaturationParams(StrengthParams):
    """Scale of the saturation."""

    factor: Gain | tuple[Gain, Gain] = Field(0.0, description="Factor of the saturation; 1 is clean, 0 is grey.")


class HueParams(StrengthParams):
    """Rotation of the hue."""

    degrees: Degrees | tuple[Degrees, Degrees] = Field(
        (-30.0, 30.0), description="Rotation of the colour circle, in degrees."
    )


class HsvJitterParams(Params):
    """Jitter of hue, saturation and value."""

    hue: float = Field(
        0.1, ge=0, le=0.5, description="Largest shift of the hue in either direction, as a share of the colour circle."
    )
    saturation: float = Field(1.5, ge=1, description="Largest factor u; the saturation is multiplied by u or by 1 / u.")
    value: float = Field(1.5, ge=1, description="Largest factor u; the HSV value is multiplied by u or by 1 / u.")
    per: Per = Field("frame", description=PER_DRAW)


class RandomBrightnessParams(Params):
    """A constant added to all pixels."""

    p: float = Field(0.1, ge=0, le=1, description="Probability that a clip is changed.")
    offset: float = Field(
        0.01,
        ge=0,
        description="Largest absolute offset of values in [0, 1]; the offset is drawn uniformly for each clip.",
    )
