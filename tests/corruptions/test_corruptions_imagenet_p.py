"""Sequences of ImageNet-P: numbers of the authors' scripts, shapes, smaller differences between adjacent frames."""

import math

import cv2
import numpy as np
import pytest
import torch
from operation_tester import context, faces, keys
from pydantic import ValidationError
from scipy import ndimage

from blear.contracts import BuildContext, Degradation
from blear.errors import PluginError
from blear_corruptions.imagenet_p.moves import move_of
from blear_corruptions.imagenet_p.params import ImageNetPParams, Perturbation
from blear_corruptions.imagenet_p.sequence import ImageNetP

ALL = Perturbation.__args__
NOISES = tuple(name for name in ALL if name.endswith("noise"))


def build(name, given=None, **params):
    return ImageNetP(ImageNetPParams(**{"perturbation": name} | params), given or BuildContext())


def sequence(name, still, **params):
    op = build(name, **params)
    return op.apply(still, op.draw(keys(len(still))))


@pytest.mark.parametrize("name", ALL)
def test_stills_become_clips_and_clips_keep_their_length(name):
    still = faces(2, 24)
    op = build(name, frames=7)
    assert isinstance(op, Degradation)
    out = op.apply(still, op.draw(keys(2)))
    assert out.shape == (2, 7, 3, 24, 24)
    assert 0 <= out.min() < out.max() <= 1
    assert torch.equal(out, op.apply(still.expand(2, 7, 3, 24, 24), op.draw(keys(2))))
    alone = op.apply(still[1:], op.draw(keys(1, first=1)))
    torch.testing.assert_close(alone, out[1:], atol=1e-5, rtol=0)
    assert op.apply(still.half(), op.draw(keys(2))).dtype == torch.float16
    assert [level["difficulty"] for level in op.levels()] == [1, 2, 3]


@pytest.mark.parametrize("name", [name for name in ALL if name not in NOISES])
def test_neighbours_differ_less_than_ends_and_difficulty_is_the_step(name):
    still = faces(1, 24)
    easy, hard = sequence(name, still), sequence(name, still, difficulty=3, frames=11)
    torch.testing.assert_close(hard, easy[:, ::3], atol=1e-5, rtol=0)
    between = (easy[:, 1:] - easy[:, :-1]).square().mean(dim=(2, 3, 4))
    ends = (easy[:, :1] - easy[:, 15:16]).square().mean()
    assert 0 < between.mean() < ends / 2
    back = sequence(name, still, frames=62, first=0)
    torch.testing.assert_close(back[:, 31:61], easy[:, :30].flip(1), atol=1e-5, rtol=0)
    assert torch.equal(sequence(name, still, frames=3, first=4), easy[:, 4:7])


@pytest.mark.parametrize(("name", "strengths"), [("gaussian_noise", (0.02, 0.04, 0.06)), ("speckle_noise", None)])
def test_noise_is_new_in_every_frame_but_the_first(name, strengths):
    still = torch.full((2, 1, 1, 40, 40), 0.5)
    for difficulty in (1, 2, 3):
        out = sequence(name, still, difficulty=difficulty, frames=4)
        assert torch.equal(out[:, :1], still)
        noise = (out - 0.5)[:, 1:]
        std = strengths[difficulty - 1] if strengths else (0.05, 0.07, 0.10)[difficulty - 1] * 0.5
        assert noise.std().item() == pytest.approx(std, rel=0.05)
        assert abs(float(torch.corrcoef(noise.flatten(0, 1).flatten(1)).fill_diagonal_(0).abs().max())) < 0.1


def test_shot_noise_counts_photons():
    still = torch.full((1, 1, 1, 90, 90), 0.5)
    residual = (sequence("shot_noise", still, difficulty=3, frames=2) - still)[:, 1:]
    assert residual.var().item() == pytest.approx(0.5 / 60, rel=0.1)


def test_blur_and_light_have_the_published_numbers():
    still = faces(1, 90)[..., :90, :90]
    image = still[0, 0].permute(1, 2, 0).double().numpy()
    blurred = sequence("gaussian_blur", still)[0, 20].permute(1, 2, 0).numpy()
    sigma = 0.25 + 0.035 * 20
    np.testing.assert_allclose(
        blurred, ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest", truncate=6), atol=1e-5
    )
    lit = sequence("brightness", still)[0]
    value = still[0, 0].amax(dim=0)
    for place, more in ((0, -0.3), (15, 0), (30, 0.3)):
        torch.testing.assert_close(lit[place].amax(dim=0), (value + more).clamp(0, 1), atol=1e-5, rtol=0)


def test_moves_are_those_of_opencv():
    side = 96
    still = faces(1, side)
    image = still[0, 0].permute(1, 2, 0).numpy()
    centre = (side - 1) / 2
    angle = math.radians(20 - 15)
    away = math.hypot(side, side)
    # The authors' tilt, about the centre of the frame.
    onto = np.array([[1, 0, -centre], [0, 1, -centre], [0, 0, 1], [0, 0, 1]])
    cos, sin = math.cos(angle), math.sin(angle)
    about_x = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]])
    about_y = np.array([[cos, 0, -sin, 0], [0, 1, 0, 0], [sin, 0, cos, 0], [0, 0, 0, 1]])
    back = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, away], [0, 0, 0, 1]])
    seen = np.array([[away, 0, centre, 0], [0, away, centre, 0], [0, 0, 1, 0]])
    tilt = seen @ back @ about_x @ about_y @ onto
    turn = np.vstack([cv2.getRotationMatrix2D((centre, centre), -5, 1), [0, 0, 1]])  # clockwise
    smaller = np.vstack([cv2.getRotationMatrix2D((centre, centre), 0, 0.9), [0, 0, 1]])
    shift = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    for name, matrix in (("tilt", tilt), ("rotate", turn), ("scale", smaller), ("translate", shift)):
        out = sequence(name, still)[0, 20].permute(1, 2, 0).numpy()
        border = cv2.BORDER_CONSTANT if name == "scale" else cv2.BORDER_REPLICATE
        expected = cv2.warpPerspective(image, matrix, (side, side), borderMode=border)
        assert np.abs(out - expected)[4:-4, 4:-4].mean() < 0.004, name  # OpenCV rounds coordinates to 1/32 pixel
    shifted = sequence("translate", still)[0, 23].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(shifted[:, 3:], image[:, :-3], atol=1e-5)


def test_a_shear_moves_rows_along_and_zoom_averages():
    matrix = move_of("shear", torch.tensor([25.0]), 32, 32, True)[0]
    assert matrix[0].tolist() == pytest.approx([1, math.tan(math.radians(10)), 0])
    still = faces(1, 24)
    out = sequence("zoom_blur", still)[0]
    torch.testing.assert_close(out[0], still[0, 0])
    second = 2 * out[1] - out[0]  # the first magnification without the image
    assert (second - still[0, 0]).abs().mean() < 0.01
    assert not torch.allclose(second, still[0, 0], atol=1e-3)


def test_invalid_input_is_refused_with_a_reason():
    with pytest.raises(ValidationError, match="Input should be 1, 2 or 3"):
        ImageNetPParams(perturbation="tilt", difficulty=4)
    with pytest.raises(PluginError, match="5 x 5 pixels are too small"):
        build("tilt", context(1, 3, 5, 5))
    with pytest.raises(PluginError, match="2 channels have no colour"):
        build("snow", context(1, 2, 24, 24))
