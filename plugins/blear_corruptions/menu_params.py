"""What a job may set for the menu's operations. A strength is one number, or [lowest, highest], drawn for each clip."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from blear.contracts import Params
from blear_corruptions.frame_params import Per

Share = Annotated[float, Field(ge=0, le=1)]
Levels = Annotated[float, Field(ge=0, le=255)]
Pixels = Annotated[float, Field(ge=0, le=256)]
Width = Annotated[float, Field(ge=1, le=256)]
Length = Annotated[float, Field(ge=1, le=64)]
Degrees = Annotated[float, Field(ge=-360, le=360)]
Quality = Annotated[float, Field(ge=1, le=99)]
Stops = Annotated[float, Field(ge=-12, le=4)]
Photons = Annotated[float, Field(ge=1, le=1e6)]
Kelvin = Annotated[float, Field(ge=2000, le=25000)]
Gain = Annotated[float, Field(ge=0, le=8)]
Aspect = Annotated[float, Field(ge=0.1, le=10)]
Fill = Literal["black", "grey", "white", "mean", "noise"]
_FILL = "What covers the face: a value, the frame's own mean colour, or noise of uniform values."
_PATTERN = "What one random pattern is for: each frame alone, or all frames of a clip alike."


class SpanParams(Params):
    """Strengths that are one number or two."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"{name}: the lowest value, {value[0]:g}, is above the highest, {value[1]:g}")
        return self


class BlurParams(SpanParams):
    """Gaussian blur."""

    sigma: Pixels | tuple[Pixels, Pixels] = Field(2.0, description="Standard deviation in pixels; 0 is clean.")


class BoxBlurParams(SpanParams):
    """Box blur."""

    width: Width | tuple[Width, Width] = Field(
        3.0, description="Side of the box in pixels, need not be whole; 1 is clean."
    )


class LineBlurParams(SpanParams):
    """Motion in a straight line."""

    length: Length | tuple[Length, Length] = Field(
        7.0, description="Pixels that a point moves during the exposure; 1 is nearly clean."
    )
    angle: Degrees | tuple[Degrees, Degrees] = Field(
        (0.0, 180.0), description="Direction in degrees, clockwise from the right."
    )


class NoiseParams(SpanParams):
    """Gaussian noise."""

    sigma: Levels | tuple[Levels, Levels] = Field(10.0, description="Standard deviation, on the scale of 0 to 255.")
    grey: Share = Field(0.0, description="Share of the clips whose channels get the same noise.")
    per: Per = Field("frame", description=_PATTERN)


class SaltPepperParams(SpanParams):
    """Dead pixels."""

    amount: Share | tuple[Share, Share] = Field(0.05, description="Share of the pixels that become black or white.")
    salt: Share = Field(0.5, description="Share of them that become white.")
    each: Literal["pixel", "channel"] = Field(
        "pixel", description="Whether all channels of a pixel turn, or each alone."
    )
    per: Per = Field("frame", description=_PATTERN)


class LowLightParams(SpanParams):
    """Too little light on the sensor."""

    exposure: Stops | tuple[Stops, Stops] = Field(-2.0, description="Stops; each one below 0 halves the light.")
    gamma: float = Field(2.2, ge=1, le=4, description="Frames are light to the power 1 / gamma; 1: light itself.")
    photons: Photons | tuple[Photons, Photons] = Field(
        1000.0, description="Photons that a white pixel counts at exposure 0: fewer, more shot noise."
    )
    read: float = Field(2.0, ge=0, le=1e4, description="Standard deviation of the sensor's read noise, in electrons.")
    lift: bool = Field(False, description="Brightened again after the noise, as a camera that raises its gain does.")
    per: Per = Field("frame", description=_PATTERN)


class WhiteBalanceParams(SpanParams):
    """The colour of the light."""

    kelvin: Kelvin | tuple[Kelvin, Kelvin] = Field(
        (2500.0, 10000.0), description="Colour temperature of the light, for a camera set to 6500 K; less is warmer."
    )


class ChannelGainParams(SpanParams):
    """A factor for each channel."""

    red: Gain | tuple[Gain, Gain] = Field((0.8, 1.2), description="Factor of the red values.")
    green: Gain | tuple[Gain, Gain] = Field((0.8, 1.2), description="Factor of the green values.")
    blue: Gain | tuple[Gain, Gain] = Field((0.8, 1.2), description="Factor of the blue values.")


class SaturationParams(SpanParams):
    """Distance from grey."""

    factor: Gain | tuple[Gain, Gain] = Field(0.0, description="Factor of the saturation; 1 is clean, 0 is grey.")


class HueParams(SpanParams):
    """Turned colours."""

    degrees: Degrees | tuple[Degrees, Degrees] = Field(
        (-30.0, 30.0), description="Angle by which the colour circle turns."
    )


class _Cover(SpanParams):
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


class SoftJpegParams(SpanParams):
    """JPEG with a gradient."""

    quality: Quality | tuple[Quality, Quality] = Field(50.0, description="libjpeg's quality; need not be whole.")
