"""The declarations: names, lazy imports, described parameters, examples that build."""

import subprocess
import sys
from importlib import import_module

import pytest
import torch
from dsn_models import context, shapes

import blear_dsn
from blear.contracts import Backbone, Head

DATASETS, BACKBONES, HEADS = (
    blear_dsn.register_datasets(),
    blear_dsn.register_backbones(),
    blear_dsn.register_heads(),
)
COMPONENTS = [*DATASETS, *BACKBONES, *HEADS]


def built(component, example, given):
    module, attribute = component.build.split(":")
    return getattr(import_module(module), attribute)(component.params(**example), given)


def test_names():
    names = ["raf_db", "face_list", "vgg", "resnet50", "densenet121", "side_outputs", "two_linear"]
    assert [c.name for c in COMPONENTS] == names
    assert blear_dsn.PLUGIN_API == 1


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_every_parameter_is_described(component):
    assert [name for name, field in component.params.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("component", DATASETS, ids=lambda c: c.name)
def test_datasets_build_without_their_files(component):
    for example in component.examples:
        dataset = built(component, example, context())
        assert (dataset.clip.length, dataset.clip.channels) == (1, 3)
        assert [(t.name, t.kind, len(t.classes)) for t in dataset.targets] == [("emotion", "class", 7)]


@pytest.mark.parametrize("component", BACKBONES, ids=lambda c: c.name)
def test_networks_build_and_the_heads_fit(component):
    for example in component.examples:
        backbone = built(component, example, context(64)).eval()
        assert isinstance(backbone, Backbone)
        with torch.no_grad():
            features = backbone(torch.rand(2, 1, 3, 64, 64))
        for head in HEADS[1:] if component.name == "densenet121" else HEADS:
            for params in head.examples:
                fitted = built(head, params, context(64, features=shapes(features)))
                assert isinstance(fitted, Head)
                (decoded,) = fitted.eval().decode(fitted(features)).values()
                assert decoded.probabilities_BTK.shape == (2, 1, 7)
                torch.testing.assert_close(decoded.probabilities_BTK.sum(-1), torch.ones(2, 1))


def test_import_is_cheap():
    code = "import sys, blear_dsn; print([m for m in ('torch', 'cv2', 'PIL') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
