"""Components of noise and low light."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.noise.params import LowLightParams, NoiseParams, RandomNoiseParams, SaltPepperParams


def components() -> list[Component]:
    """Returns one component for each operation."""
    return [
        Component(
            "random_noise",
            "Adds Gaussian noise to some clips, coloured or grey",
            RandomNoiseParams,
            "blear_corruptions.noise.random_noise:RandomNoise",
        ),
        Component(
            "noise",
            "Gaussian noise with a sigma on the scale of 0 to 255",
            NoiseParams,
            "blear_corruptions.noise.sensor:Noise",
            examples=({}, {"sigma": [0, 50], "grey": 0.5, "per": "clip"}),
        ),
        Component(
            "salt_pepper",
            "Turns a share of the pixels black or white",
            SaltPepperParams,
            "blear_corruptions.noise.sensor:SaltPepper",
            examples=({}, {"amount": [0, 0.2], "each": "channel", "per": "clip"}),
        ),
        Component(
            "low_light",
            "Reduces the light by stops and adds shot noise and read noise",
            LowLightParams,
            "blear_corruptions.noise.sensor:LowLight",
            examples=({}, {"exposure": [-4, 0], "photons": [100, 2000], "lift": True, "per": "clip"}),
        ),
    ]
