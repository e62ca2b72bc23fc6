"""Degradations that others published as wholes: benchmarks' compounds and the recipes of blind restoration."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.imagenet_p_params import ImageNetPParams
from blear_corruptions.rafdb_c_params import RafDbCParams
from blear_corruptions.recipe_params import FaceRecipeParams, ScaledRecipeParams


def recipes() -> list[Component]:
    """One for each benchmark or recipe."""
    return [
        Component(
            "rafdb_c",
            "RAF-DB-C: one of its 13 single or 5 compound corruptions of faces",
            RafDbCParams,
            "blear_corruptions.rafdb_c:RafDbC",
            examples=(
                {"corruption": "motion_blur_contrast_brightness_minus", "severity": 2},
                {"corruption": "contrast_plus", "mix": {1: 1, 2.5: 1}, "per": "frame"},
            ),
        ),
        Component(
            "imagenet_p",
            "ImageNet-P: a perturbation that grows or turns a little from frame to frame; stills become clips",
            ImageNetPParams,
            "blear_corruptions.imagenet_p:ImageNetP",
            examples=({"perturbation": "rotate", "frames": 5}, {"perturbation": "shot_noise", "difficulty": 2}),
        ),
        Component(
            "real_esrgan",
            "Real-ESRGAN: blur, resize, noise and JPEG twice over, then a sinc filter",
            ScaledRecipeParams,
            "blear_corruptions.second_order:real_esrgan",
            examples=({}, {"severity": {1: 1, 3: 2}, "scale": 2}),
        ),
        Component(
            "bsrgan",
            "BSRGAN: two blurs, two resizes, noise and JPEG in random order",
            ScaledRecipeParams,
            "blear_corruptions.bsrgan:Bsrgan",
            examples=({}, {"severity": 2, "scale": 2}),
        ),
        Component(
            "gfpgan",
            "GFPGAN's range for faces: blur, loss of resolution, noise, JPEG, colour",
            FaceRecipeParams,
            "blear_corruptions.gfpgan:Gfpgan",
            examples=({}, {"severity": 3, "jitter": 0}),
        ),
        Component(
            "real_basicvsr",
            "RealBasicVSR: Real-ESRGAN whose parameters walk from frame to frame; its video codecs as JPEG",
            ScaledRecipeParams,
            "blear_corruptions.second_order:real_basicvsr",
            examples=({}, {"severity": 2.5}),
        ),
    ]
