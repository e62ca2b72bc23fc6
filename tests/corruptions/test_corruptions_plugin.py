import importlib
import subprocess
import sys
from collections import Counter
from typing import get_args

import pytest

import blear_corruptions
from blear.contracts import BuildContext, ClipSpec, Degradation, Moving
from blear_corruptions.imagenet_c.components import components as imagenet_c
from blear_corruptions.imagenet_p.params import Perturbation

COMPONENTS = {component.name: component for component in blear_corruptions.register_degradations()}


def test_components():
    assert blear_corruptions.PLUGIN_API == 1
    assert len(imagenet_c()) == 19
    assert len(COMPONENTS) == 52
    subjects = Counter(component.build.split(":")[0].split(".")[1] for component in COMPONENTS.values())
    assert subjects == {
        "resolution": 2,
        "geometry": 6,
        "blur": 4,
        "noise": 4,
        "colour": 6,
        "occlusion": 4,
        "compression": 1,
        "imagenet_c": 19,
        "imagenet_p": 1,
        "rafdb_c": 1,
        "recipes": 4,
    }


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=COMPONENTS)
def test_examples_build_and_every_parameter_is_described(component):
    module, attribute = component.build.split(":")
    build = getattr(importlib.import_module(module), attribute)
    for example in component.examples:
        built = build(component.params(**example), BuildContext(clip=ClipSpec(2, 3, 24, 24)))
        assert isinstance(built, Degradation)
    assert all(field.description for field in component.params.model_fields.values())


def moves(component, **params):
    module, attribute = component.build.split(":")
    given = component.params(**dict(component.examples[0]) | params)
    built = getattr(importlib.import_module(module), attribute)(given, BuildContext(clip=ClipSpec(2, 3, 24, 24)))
    return isinstance(built, Moving) and built.moves_content


def test_components_that_move_pixels_are_declared():
    sequence = COMPONENTS["imagenet_p"]
    moving = {name for name, component in COMPONENTS.items() if component is not sequence and moves(component)}
    random = {f"random_{name}" for name in ("affine", "box", "crop", "flip", "shift")}
    assert moving == {"elastic_transform", *random}
    assert {kind for kind in get_args(Perturbation) if moves(sequence, perturbation=kind)} == {
        "translate", "rotate", "tilt", "scale", "shear",
    }  # fmt: skip


@pytest.mark.parametrize("plugin", ["blear_corruptions", "blear_fer"])
def test_registering_imports_no_torch(plugin):
    hooks = "[getattr(p, name)() for name in dir(p) if name.startswith('register_')]"
    code = f"import sys, {plugin} as p; {hooks}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
