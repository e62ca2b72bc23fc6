"""Degradations of image quality, and geometric augmentations for training, batched on the device."""

from __future__ import annotations

from blear.contracts import Component
from blear.hooks import hookimpl
from blear_corruptions.blur.components import components as blur
from blear_corruptions.colour.components import components as colour
from blear_corruptions.compression.components import components as compression
from blear_corruptions.geometry.components import components as geometry
from blear_corruptions.imagenet_c.components import components as imagenet_c
from blear_corruptions.imagenet_p.components import components as imagenet_p
from blear_corruptions.noise.components import components as noise
from blear_corruptions.occlusion.components import components as occlusion
from blear_corruptions.rafdb_c.components import components as rafdb_c
from blear_corruptions.recipes.components import components as recipes
from blear_corruptions.resolution.components import components as resolution

PLUGIN_API = 1


@hookimpl
def register_degradations() -> list[Component]:
    """Returns the components of all subjects."""
    subjects = (
        resolution,
        geometry,
        blur,
        noise,
        colour,
        occlusion,
        compression,
        imagenet_c,
        imagenet_p,
        rafdb_c,
        recipes,
    )
    return [component for components in subjects for component in components()]
