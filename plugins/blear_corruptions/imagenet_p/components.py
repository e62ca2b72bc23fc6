"""The component of ImageNet-P."""

from __future__ import annotations

from blear.contracts import Component
from blear_corruptions.imagenet_p.params import ImageNetPParams


def components() -> list[Component]:
    """Returns one component for each operation."""
    return [
        Component(
            "imagenet_p",
            "ImageNet-P: a perturbation that changes a little from frame to frame; stills become clips",
            ImageNetPParams,
            "blear_corruptions.imagenet_p.sequence:ImageNetP",
            examples=({"perturbation": "rotate", "frames": 5}, {"perturbation": "shot_noise", "difficulty": 2}),
        ),
    ]
