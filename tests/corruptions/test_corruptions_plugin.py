import importlib
import subprocess
import sys

import pytest

import blear_corruptions
from blear.contracts import BuildContext, ClipSpec, Degradation
from blear_corruptions.imagenet_c_components import benchmark_operations
from blear_corruptions.menu_components import menu
from blear_corruptions.recipe_components import recipes

COMPONENTS = {component.name: component for component in blear_corruptions.register_degradations()}


def test_menu():
    quality, geometry = ["downscale", "scale_mix"], ["random_flip", "random_crop", "random_shift", "random_affine"]
    photometric, frames = ["random_noise", "random_brightness", "random_blur"], ["resize", "random_box", "hsv_jitter"]
    assert list(COMPONENTS)[:12] == [*quality, *geometry, *photometric, *frames]
    own = [
        component.name for component in (*menu(), *benchmark_operations(), *recipes())
    ]  # these have tests of their own
    assert len(benchmark_operations()) == 19
    assert [name for name in COMPONENTS if name in own] == own
    assert len(COMPONENTS) == 12 + len(own)
    assert blear_corruptions.PLUGIN_API == 1


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=COMPONENTS)
def test_examples_build_and_every_parameter_is_described(component):
    module, attribute = component.build.split(":")
    build = getattr(importlib.import_module(module), attribute)
    for example in component.examples:
        built = build(component.params(**example), BuildContext(clip=ClipSpec(2, 3, 24, 24)))
        assert isinstance(built, Degradation)
    assert all(field.description for field in component.params.model_fields.values())


@pytest.mark.parametrize("plugin", ["blear_corruptions", "blear_fer"])
def test_registering_imports_no_torch(plugin):
    hooks = "[getattr(p, name)() for name in dir(p) if name.startswith('register_')]"
    code = f"import sys, {plugin} as p; {hooks}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
