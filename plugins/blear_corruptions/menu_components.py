"""The menu's own operations as components: every strength is in stated units and may differ for each clip."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions import menu_params as params


def menu() -> list[Component]:
    """Blur, noise and light, colour, covers, JPEG."""
    return [
        Component(
            "blur",
            "Gaussian blur of a sigma in pixels",
            params.BlurParams,
            "blear_corruptions.smoothing:Blur",
            examples=({}, {"sigma": [0, 3.5]}),
        ),
        Component(
            "box_blur",
            "Averages over a box of a width in pixels",
            params.BoxBlurParams,
            "blear_corruptions.smoothing:BoxBlur",
            examples=({}, {"width": [1, 4.5]}),
        ),
        Component(
            "line_blur",
            "Motion blur of a length in pixels and an angle in degrees, the exact kernel of a line",
            params.LineBlurParams,
            "blear_corruptions.smoothing:LineBlur",
            examples=({}, {"length": [1, 9.5], "angle": 30}),
        ),
        Component(
            "noise",
            "Gaussian noise of a sigma on the scale of 0 to 255",
            params.NoiseParams,
            "blear_corruptions.sensor:Noise",
            examples=({}, {"sigma": [0, 50], "grey": 0.5, "per": "clip"}),
        ),
        Component(
            "salt_pepper",
            "Turns a share of the pixels black or white",
            params.SaltPepperParams,
            "blear_corruptions.sensor:SaltPepper",
            examples=({}, {"amount": [0, 0.2], "each": "channel", "per": "clip"}),
        ),
        Component(
            "low_light",
            "Less light by stops, with shot noise and read noise",
            params.LowLightParams,
            "blear_corruptions.sensor:LowLight",
            examples=({}, {"exposure": [-4, 0], "photons": [100, 2000], "lift": True, "per": "clip"}),
        ),
        Component(
            "white_balance",
            "The face under light of a colour temperature in kelvin",
            params.WhiteBalanceParams,
            "blear_corruptions.shades:WhiteBalance",
            examples=({}, {"kelvin": 3200}),
        ),
        Component(
            "channel_gain",
            "A factor for each of red, green and blue",
            params.ChannelGainParams,
            "blear_corruptions.shades:ChannelGain",
            examples=({}, {"red": 0.7, "green": 1, "blue": [1, 1.3]}),
        ),
        Component(
            "saturation",
            "Scales the saturation; 0 is grey",
            params.SaturationParams,
            "blear_corruptions.shades:Saturation",
            examples=({}, {"factor": [0, 2]}),
        ),
        Component(
            "hue",
            "Turns the hue by degrees",
            params.HueParams,
            "blear_corruptions.shades:Hue",
            examples=({}, {"degrees": 60}),
        ),
        Component(
            "occlusion",
            "Covers a share of the frame with rectangles that stay or move",
            params.OcclusionParams,
            "blear_corruptions.cover:Occlusion",
            examples=({}, {"area": [0, 0.3], "aspect": [0.5, 2], "count": 3, "move": 2, "fill": "noise"}),
        ),
        Component(
            "bars",
            "Covers a share of the frame with parallel bars",
            params.BarsParams,
            "blear_corruptions.cover:Bars",
            examples=({}, {"share": [0, 0.5], "run": "rows", "fill": "mean", "per": "frame"}),
        ),
        Component(
            "face_band",
            "Sunglasses or a mask on an aligned face",
            params.FaceBandParams,
            "blear_corruptions.cover:FaceBand",
            examples=({}, {"part": "mouth", "fill": "white", "cover": [0.5, 1]}),
        ),
        Component(
            "patches",
            "Covers squares of a grid at random",
            params.PatchesParams,
            "blear_corruptions.cover:Patches",
            examples=({}, {"share": [0, 0.5], "grid": 4, "per": "frame", "fill": "grey"}),
        ),
        Component(
            "jpeg_differentiable",
            "JPEG of a quality, with a gradient; codec/jpeg is the real one",
            params.SoftJpegParams,
            "blear_corruptions.compression:SoftJpeg",
            examples=({}, {"quality": [10, 90]}),
        ),
    ]
