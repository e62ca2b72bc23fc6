"""kornia's augmentations as components: parameters, classes that are left out, keyed draws."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import blear_kornia
from blear.contracts import BuildContext, ClipSpec, DrawKeys
from blear.errors import PluginError
from blear_kornia.choices import AS_COLOUR, BY_VALUE, COLOUR_ONLY, ONE_BY_ONE, PADDED, SHARED, WARPING
from blear_kornia.keyed_random import KeyedRandom
from blear_kornia.params import LEFT_OUT, SEVERITIES

COMPONENTS = {component.name: component for component in blear_kornia.register_degradations()}
SCRIPT = Path(__file__).parents[2] / "docs" / "make_kornia_signatures.py"


def script():
    spec = importlib.util.spec_from_file_location("make_kornia_signatures", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keys(count, first=0, epoch=0):
    return DrawKeys(3, 1, np.full(count, epoch), np.arange(first, first + count))


def build(name, channels=3, length=1, size=32, **params):
    component = COMPONENTS[name]
    given = dict(component.examples[0]) | params
    return component.build(component.params(**given), BuildContext(clip=ClipSpec(length, channels, size, size)))


def clips(count, length=1, channels=3, size=32):
    return 0.1 + 0.8 * torch.rand(count, length, channels, size, size, generator=torch.Generator().manual_seed(1))


def test_every_class_is_a_component_or_left_out_by_name():
    assert blear_kornia.PLUGIN_API == 1
    assert len(COMPONENTS) >= 40
    assert set(script().classes()) == set(COMPONENTS) | set(LEFT_OUT)
    assert all(LEFT_OUT.values())
    named = {*COLOUR_ONLY, *AS_COLOUR, *ONE_BY_ONE, *BY_VALUE, *PADDED, *SHARED, *WARPING, *SEVERITIES}
    assert named <= set(COMPONENTS)


def test_the_signatures_are_those_of_the_installed_kornia():
    module = script()
    assert json.loads(module.FILE.read_text()) == json.loads(json.dumps(module.read_signatures()))


def test_registering_imports_neither_torch_nor_kornia():
    code = (
        "import sys, blear_kornia as k; k.register_degradations(); "
        "sys.exit('torch' in sys.modules or 'kornia' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_parameters_of_the_class():
    params = COMPONENTS["RandomMotionBlur"].params
    given = params(kernel_size=[3, 9], angle=35, direction=0.5)
    assert given.kernel_size == (3, 9)
    assert given.p == 0.5
    assert given.resample == "nearest"
    assert params.model_fields["angle"].description.startswith("angle of the motion blur in degrees")
    with pytest.raises(ValidationError):
        params(kernel_size=3, angle=35)
    with pytest.raises(PluginError, match="kornia refuses the parameters"):
        build("RandomMotionBlur", kernel_size=4)


@pytest.mark.parametrize("name", COMPONENTS)
def test_draw_of_a_clip_is_independent_of_the_batch_and_of_torchs_generator(name):
    operation = build(name, length=2)
    frames = clips(5).expand(-1, 2, -1, -1, -1)
    state = torch.get_rng_state()
    draws = operation.draw(keys(5))
    out = operation.apply(frames, draws)
    assert torch.equal(torch.get_rng_state(), state)
    assert out.shape == frames.shape
    assert 0 <= out.min() <= out.max() <= 1
    torch.testing.assert_close(out[:, 0], out[:, 1], atol=1e-6, rtol=0)
    torch.manual_seed(5)
    for number in range(5):
        alone = operation.draw(keys(1, first=number))
        assert all(torch.equal(alone[key][0], draws[key][number]) for key in draws)
    assert (out - frames).abs().max() > 0.01


@pytest.mark.parametrize("name", COMPONENTS)
def test_grey_frames_are_supported_or_refused_with_a_reason(name):
    if name in COLOUR_ONLY:
        with pytest.raises(PluginError, match="no colour to change"):
            build(name, channels=1)
        return
    operation = build(name, channels=1)
    out = operation.apply(clips(3, channels=1), operation.draw(keys(3)))
    assert out.shape == (3, 1, 1, 32, 32)


@pytest.mark.parametrize("name", [name for name in SEVERITIES if "levels" in SEVERITIES[name]])
def test_psnr_falls_from_level_to_level(name):
    frames = torch.nn.functional.avg_pool2d(clips(4, size=48).flatten(0, 1), 5, 1, 2).unflatten(0, (4, 1))
    errors = []
    for level in build(name, size=48).levels():
        operation = build(name, size=48, **level)
        errors.append((operation.apply(frames, operation.draw(keys(4))) - frames).square().mean().item())
    assert len(errors) == 5
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_samples_differ_wherever_those_of_kornia_differ():
    frames = clips(1, size=16).expand(6, -1, -1, -1, -1)
    ours, theirs = {}, {}
    for name in COMPONENTS:
        operation = build(name, size=16, p=1.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            own = operation._class(frames[:, 0])  # with the draws of kornia itself
        out = operation.apply(frames, operation.draw(keys(6)))
        ours[name], theirs[name] = (len({one.numpy().tobytes() for one in images}) > 1 for images in (out, own))
    assert ours == theirs
    assert sum(ours.values()) > 30


def test_each_epoch_has_a_new_draw_with_probability_p():
    operation = build("RandomGaussianNoise")
    first, second = (operation.draw(keys(3, epoch=epoch)) for epoch in (0, 1))
    assert not torch.equal(first["gaussian_noise"], second["gaussian_noise"])
    some = build("RandomHorizontalFlip", p=0.25).draw(keys(4000))["batch_prob"]
    assert some.mean().item() == pytest.approx(0.25, abs=0.02)


def test_classes_that_move_pixels_are_declared():
    turns = ("Affine", "HorizontalFlip", "Perspective", "Rotation", "Rotation90", "Shear", "Translate", "VerticalFlip")
    warps = ("ElasticTransform", "Fisheye", "ThinPlateSpline")
    assert {name for name in COMPONENTS if build(name).moves_content} == {f"Random{name}" for name in turns + warps}


def test_kernel_sizes_differ_within_a_batch():
    operation = build("RandomMotionBlur", kernel_size=(3, 9))
    draws = operation.draw(keys(16))
    assert draws["ksize_factor"].unique().tolist() == [3, 5, 7, 9]
    frames = clips(16)
    alone = [operation.apply(frames[n : n + 1], operation.draw(keys(1, first=n))) for n in range(16)]
    torch.testing.assert_close(operation.apply(frames, draws), torch.cat(alone), atol=1e-6, rtol=0)


def test_keyed_numbers_have_the_distributions_of_torch():
    with KeyedRandom(keys(400)):
        uniform, normal = torch.rand(400, 50), torch.randn((400, 50))
        coins = torch.bernoulli(torch.full((400, 5), 0.3))
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01)
    assert [normal.mean().item(), normal.std().item()] == pytest.approx([0, 1], abs=0.02)
    assert coins.mean().item() == pytest.approx(0.3, abs=0.03)
    with KeyedRandom(keys(1)):
        assert torch.randperm(9).tolist() == list(range(9))
        assert 0 <= int(torch.randint(7, (1,))) < 7
    with KeyedRandom(keys(1, first=151_090_432)):  # 1 - 1e-8, which rounds to 1
        assert torch.rand(1).item() == 1 - 2**-24
    with KeyedRandom(keys(4)), pytest.raises(RuntimeError, match="cannot be divided among"):
        torch.rand(3)


def test_the_shape_of_the_clips_must_be_known_to_draw():
    component = COMPONENTS["RandomGaussianNoise"]
    with pytest.raises(PluginError, match="needs the shape of the clips"):
        component.build(component.params(), BuildContext()).draw(keys(1))


def test_parameters_that_fail_on_the_frames_are_refused_whatever_the_probability():
    """With p below 1 the first clips may stay unchanged, and the training would fail at a later step."""
    for name, given, size in (
        ("RandomThinPlateSpline", {"padding_mode": "fill"}, 32),
        ("RandomGaussianBlur", {"kernel_size": [63, 63]}, 24),
        ("RandomClahe", {}, 8),
    ):
        with pytest.raises(PluginError, match=f"kornia fails on frames of 3 x {size} x {size}"):
            build(name, size=size, p=0.01, **given)
