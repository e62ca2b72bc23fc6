"""The declarations: names, lazy imports, described parameters, examples."""

import subprocess
import sys
from importlib import import_module

import pytest

import blear_adverse

COMPONENTS = [
    *blear_adverse.register_datasets(),
    *blear_adverse.register_backbones(),
    *blear_adverse.register_heads(),
]


def test_names():
    assert [c.name for c in COMPONENTS] == ["mnist", "cifar10", "cnn", "resnet18", "restoration"]
    assert blear_adverse.PLUGIN_API == 1


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_declaration(component):
    module, attribute = component.build.split(":")
    assert callable(getattr(import_module(module), attribute))
    assert [name for name, f in component.params.model_fields.items() if not f.description] == []
    for example in component.examples:
        component.params.model_validate(example)


def test_import_is_cheap():
    code = "import sys, blear_adverse; print([m for m in ('torch', 'cv2', 'PIL') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
