"""Components of light and colour."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.colour.params import (
    ChannelGainParams,
    HsvJitterParams,
    HueParams,
    RandomBrightnessParams,
    SaturationParams,
    WhiteBalanceParams,
)


def components() -> list[Component]:
    """Returns one component for each operation."""
    return [
        Component(
            "random_brightness",
            "Makes some clips a little brighter or darker",
            RandomBrightnessParams,
            "blear_corruptions.colour.random_brightness:RandomBrightness",
        ),
        Component(
            "hsv_jitter",
            "Shifts the hue and scales saturation and value",
            HsvJitterParams,
            "blear_corruptions.colour.hsv_jitter:HsvJitter",
            examples=({}, {"hue": 0.0, "per": "clip"}),
        ),
        Component(
            "white_balance",
            "Changes the light to a colour temperature in kelvin",
            WhiteBalanceParams,
            "blear_corruptions.colour.shifts:WhiteBalance",
            examples=({}, {"kelvin": 3200}),
        ),
        Component(
            "channel_gain",
            "Multiplies red, green and blue by one factor each",
            ChannelGainParams,
            "blear_corruptions.colour.shifts:ChannelGain",
            examples=({}, {"red": 0.7, "green": 1, "blue": [1, 1.3]}),
        ),
        Component(
            "saturation",
            "Scales the saturation; 0 is grey",
            SaturationParams,
            "blear_corruptions.colour.shifts:Saturation",
            examples=({}, {"factor": [0, 2]}),
        ),
        Component(
            "hue",
            "Rotates the hue by an angle in degrees",
            HueParams,
            "blear_corruptions.colour.shifts:Hue",
            examples=({}, {"degrees": 60}),
        ),
    ]
