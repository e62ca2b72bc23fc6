"""Parameters of noise and low light. A strength is one number, or [lowest, highest], drawn for each clip."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blear.contracts import Params
from blear_corruptions.param_types import PER_PATTERN, Per, Share, StrengthParams

Levels = Annotated[float, Field(ge=0, le=255)]
Stops = Annotated[float, Field(ge=-12, le=4)]
Photons = Annotated[float, Field(ge=1, le=1e6)]


class NoiseParams(StrengthParams):
    """Gaussian noise."""

    sigma: Levels | tuple[Levels, Levels] = Field(10.0, description="Standard deviation, on the scale of 0 to 255.")
    grey: Share = Field(0.0, description="Share of the clips with grey noise: all channels have the same noise.")
    per: Per = Field("frame", description=PER_PATTERN)


class SaltPepperParams(StrengthParams):
    """Dead pixels."""

    amount: Share | tuple[Share, Share] = Field(0.05, description="Share of the pixels that become black or white.")
    salt: Share = Field(0.5, description="Share of the changed pixels that become white.")
    each: Literal["pixel", "channel"] = Field(
        "pixel", description="Unit of a change: a whole pixel, or each channel independently."
    )
    per: Per = Field("frame", description=PER_PATTERN)


class LowLightParams(StrengthParams):
    """Low light with the noise of a sensor."""

    exposure: Stops | tuple[Stops, Stops] = Field(
        -2.0, description="Exposure in stops; each stop below 0 halves the light."
    )
    gamma: float = Field(
        2.2, ge=1, le=4, description="Frame values are light to the power 1 / gamma; 1: frame values are light."
    )
    photons: Photons | tuple[Photons, Photons] = Field(
        1000.0, description="Photons in a white pixel at exposure 0; fewer photons give more shot noise."
    )
    read: float = Field(2.0, ge=0, le=1e4, description="Standard deviation of the sensor's read noise, in electrons.")
    lift: bool = Field(False, description="Brighten after the noise, as a camera with a higher gain does.")
    per: Per = Field("frame", description=PER_PATTERN)


class RandomNoiseParams(Params):
    """Gaussian noise."""

    p: float = Field(0.1, ge=0, le=1, description="Probability that a clip gets noise.")
    std: float = Field(
        0.05, ge=0, description="Largest standard deviation; drawn uniformly between 0 and this number for each clip."
    )
    grey: float = Field(
        0.5, ge=0, le=1, description="Share of the noisy clips with grey noise: all channels have the same noise."
    )
    per_frame: bool = Field(False, description="Every frame of a clip has its own noise; false: all frames share one.")
