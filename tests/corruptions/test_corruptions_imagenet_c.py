"""Tests of every ImageNet-C operation: the tests of the base class, parameters, choice of a table."""

import importlib

import numpy as np
import pytest
import torch
from operation_tester import OperationTester, context, faces, keys
from pydantic import ValidationError

from blear.contracts import BuildContext
from blear.errors import PluginError
from blear.plugin.discovery import load_plugins
from blear_corruptions.imagenet_c.components import components as imagenet_c
from blear_corruptions.imagenet_c.params import ImageNetCParams
from blear_corruptions.imagenet_c.tables import TABLES, table_for

COMPONENTS = {component.name: component for component in imagenet_c()}


def build(name, context, **params):
    module, attribute = COMPONENTS[name].build.split(":")
    return getattr(importlib.import_module(module), attribute)(ImageNetCParams(**params), context)


@pytest.mark.parametrize("name", COMPONENTS)
class TestImageNetC(OperationTester):
    certain = frozenset(
        {"defocus_blur", "zoom_blur", "gaussian_blur", "brightness", "contrast", "saturate", "pixelate"}
        | {"jpeg_compression"}
    )
    untaught = frozenset({"shot_noise"})
    # The published numbers are not monotonic: fewer rounds, smaller shifts, another liquid, frost as bright as the
    # face, a radius without effect beside its sigma.
    uneven = frozenset(
        {(name, table) for name in ("glass_blur", "frost", "elastic_transform") for table in (224, 64, 32)}
        | {("spatter", 32), ("saturate", 32), ("motion_blur", 32)}
    )

    def build(self, name, context, **params):
        return build(name, context, **params)


def test_the_catalog_has_the_nineteen_beside_the_rest_of_the_menu():
    names = [f"corruptions/{name}" for name in COMPONENTS]
    assert len(names) == 19
    assert set(COMPONENTS) == set(TABLES)
    catalog = load_plugins()
    assert {plugin.name: plugin.problem for plugin in catalog.plugins}["corruptions"] == ""
    found = catalog.components["degradation"]
    assert {"corruptions/downscale", *names} <= set(found)


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=COMPONENTS)
def test_examples_build(component):
    for example in component.examples:
        assert build(component.name, context(2, 3, 24, 24), **example).levels()


@pytest.mark.parametrize(
    ("height", "width", "table"),
    [
        *((224, 224, 224), (512, 300, 224), (120, 130, 224), (119, 224, 64), (64, 64, 64), (46, 46, 64)),
        *((45, 200, 32), (32, 32, 32), (6, 6, 32)),
    ],
)
def test_the_table_is_the_one_nearest_to_the_shorter_side(height, width, table):
    assert table_for(height, width) == table
    auto, named = (build("contrast", context(1, 1, height, width), severity=2, table=t) for t in ("auto", table))
    image = torch.rand(1, 1, 1, height, width)
    assert torch.equal(auto.apply(image, auto.draw(keys(1))), named.apply(image, named.draw(keys(1))))


def test_severities_between_two_interpolate_the_table():
    op = build("gaussian_noise", context(1, 1, 224, 224), severity=3.25)
    assert op.operation_for(224, 224).rows_KP.tolist() == [[pytest.approx(0.18 + 0.25 * (0.26 - 0.18))]]


def test_severities_are_drawn_by_their_weights():
    op = build("fog", BuildContext(), mix={5: 1, 1: 2, 3: 0, 2.5: 5})
    drawn = np.bincount(op.draw(keys(8000))["index"])
    assert drawn / 8000 == pytest.approx([2 / 8, 5 / 8, 1 / 8], abs=0.02)
    rows = op.operation_for(64, 64).rows_KP
    assert rows[:, 0].tolist() == pytest.approx([0.4, 0.85, 2.0])
    evenly = np.bincount(build("fog", BuildContext()).draw(keys(8000))["index"])
    assert evenly / 8000 == pytest.approx([0.2] * 5, abs=0.02)


def test_each_sample_has_its_own_severity():
    clips = faces(1, 32).expand(3, 1, 3, 32, 32)
    mixed = build("gaussian_blur", context(1, 3, 32, 32))
    out = mixed.apply(clips, {"index": torch.tensor([4, 0, 2]), "key": torch.zeros(3, 1, dtype=torch.int64)})
    for clip, severity in zip(out, (5, 1, 3), strict=True):
        one = build("gaussian_blur", context(1, 3, 32, 32), severity=severity)
        torch.testing.assert_close(clip, one.apply(clips[:1], one.draw(keys(1)))[0], atol=1e-6, rtol=0)


def test_invalid_input_is_refused_with_a_reason():
    with pytest.raises(ValidationError, match="severity and mix exclude each other"):
        ImageNetCParams(severity=2, mix={1: 1})
    with pytest.raises(ValidationError, match="weights of mix are all 0"):
        ImageNetCParams(mix={1: 0})
    with pytest.raises(ValidationError, match="less than or equal to 5"):
        ImageNetCParams(severity=6)
    with pytest.raises(PluginError, match=r"frames of 5 x 9 pixels are too small"):
        build("fog", context(1, 3, 5, 9))
    with pytest.raises(PluginError, match="frames of 2 channels have no colour"):
        build("saturate", context(1, 2, 32, 32))
    with pytest.raises(PluginError, match="needs the length of the clips"):
        build("fog", BuildContext(), per="frame")
