"""RAF-DB-C: the tests of the base class for the compounds, and numbers compared with the authors' formulae."""

import colorsys

import numpy as np
import pytest
import torch
from operation_tester import OperationTester, context, faces, keys
from pydantic import ValidationError

from blear_corruptions.imagenet_c.blur import MotionBlur
from blear_corruptions.rafdb_c.corruption import RafDbC, operation_of
from blear_corruptions.rafdb_c.params import RafDbCorruption, RafDbCParams

ALL = RafDbCorruption.__args__
LIGHT = (0.1, 0.2, 0.3, 0.4, 0.5)
FLAT = (0.4, 0.33, 0.24, 0.16, 0.1)


def build(name, context, **params):
    params.pop("table", None)  # RAF-DB-C has one table
    return RafDbC(RafDbCParams(**{"corruption": name} | params), context)


@pytest.mark.parametrize("name", [*ALL[-5:], "contrast_plus", "brightness_minus"])
class TestRafDbC(OperationTester):
    certain = frozenset(name for name in ALL if not name.startswith(("gaussian", "motion")))
    # Published pairs in which severity 4 changes the contrast less than severity 3.
    uneven = frozenset(
        (f"{name}_contrast_brightness_minus", table) for name in ("motion_blur", "pixelate") for table in (224, 64, 32)
    )

    def build(self, name, context, **params):
        return build(name, context, **params)


def test_thirteen_single_and_five_compound_corruptions_exist():
    assert len(ALL) == 18
    for name in ALL:
        levels = build(name, context(1, 3, 12, 12)).levels()
        assert levels == [{"corruption": name, "severity": k} for k in (1, 2, 3, 4, 5)]
    with pytest.raises(ValidationError, match="Input should be 'gaussian_blur'"):
        RafDbCParams(corruption="fog")


def darkened(image, amount):
    flat = [colorsys.rgb_to_hsv(*pixel) for pixel in image.reshape(-1, 3)]
    lit = [colorsys.hsv_to_rgb(h, s, min(max(v + amount, 0), 1)) for h, s, v in flat]
    return np.array(lit).reshape(image.shape)


def flattened(image, factor):
    mean = image.mean(axis=(0, 1), keepdims=True)
    return np.clip((image - mean) * factor + mean, 0, 1)


@pytest.mark.parametrize(("severity", "light", "flat"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 2, 3), (5, 3, 4)])
def test_light_and_contrast_in_the_published_pairs(severity, light, flat):
    clip = faces(1, 24)
    image = clip[0, 0].permute(1, 2, 0).double().numpy()
    for name, sign in (("contrast_brightness_plus", 1), ("contrast_brightness_minus", -1)):
        op = build(name, context(1, 3, 24, 24), severity=severity)
        out = op.apply(clip, op.draw(keys(1)))[0, 0].permute(1, 2, 0).numpy()
        expected = flattened(darkened(image, sign * LIGHT[light - 1]), FLAT[flat - 1])
        np.testing.assert_allclose(out, expected, atol=1e-5)


def test_noise_then_light_then_contrast():
    clip = faces(1, 24)
    op = build("gaussian_noise_contrast_brightness_minus", context(1, 3, 24, 24), severity=5)
    draws = op.draw(keys(1))
    noise = (
        op.operation_for(24, 24).pattern(draws["key"].flatten(), draws["index"], 3)[0].permute(1, 2, 0).double().numpy()
    )
    noisy = np.clip(clip[0, 0].permute(1, 2, 0).double().numpy() + 0.18 * noise, 0, 1)
    out = op.apply(clip, draws)[0, 0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(out, flattened(darkened(noisy, -0.2), 0.16), atol=1e-5)


def test_numbers_of_the_compounds():
    assert operation_of("motion_blur_contrast_brightness_minus")[1] == (
        (15, 5, -0.1, 0.4),
        (15, 8, -0.1, 0.4),
        (15, 12, -0.2, 0.33),
        (20, 15, -0.2, 0.4),
        (20, 15, -0.2, 0.24),
    )
    assert operation_of("pixelate_contrast_brightness_minus")[1][4] == (0.3, -0.3, 0.24)


@pytest.mark.parametrize(("side", "radius", "sigma"), [(100, 10, 3), (48, 5, 1), (12, 1, 1)])
def test_trails_grow_with_the_face(side, radius, sigma):
    op = build("motion_blur", context(1, 1, side, side), severity=2).operation_for(side, side)
    assert isinstance(op, MotionBlur)
    assert op.rows_KP.tolist() == [[radius, sigma]]


def test_grey_faces_are_served():
    grey = torch.rand(2, 3, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    for name in ALL:
        op = build(name, context(3, 1, 12, 12), per="frame")
        out = op.apply(grey, op.draw(keys(2)))
        assert out.shape == grey.shape
        assert bool(((out >= 0) & (out <= 1)).all())
