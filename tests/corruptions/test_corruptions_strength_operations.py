"""Operations with strengths in stated units, compared with independent references."""

import importlib
import io
import math

import numpy as np
import pytest
import torch
from kornia.filters import box_blur, gaussian_blur2d
from operation_tester import context, faces, keys
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage

import blear_corruptions
from blear.contracts import BuildContext
from blear.errors import PluginError
from blear_corruptions.blur.filters import line_kernels

COMPONENTS = {component.name: component for component in blear_corruptions.register_degradations()}


def build(name, at, **params):
    module, attribute = COMPONENTS[name].build.split(":")
    return getattr(importlib.import_module(module), attribute)(COMPONENTS[name].params(**params), at)


def run(name, clips, **params):
    op = build(name, context(*clips.shape[1:]), **params)
    return op.apply(clips, op.draw(keys(len(clips))))


def ones(count=1, length=1, channels=3, height=40, width=40, value=1.0):
    return torch.full((count, length, channels, height, width), value)


@pytest.mark.parametrize("sigma", [0.5, 1.7, 3.0])
def test_blur_is_the_gaussian_with_the_border_repeated(sigma):
    clips = faces(2, 40)
    out = run("blur", clips, sigma=sigma)
    side = 2 * math.ceil(4 * sigma) + 1
    expected = gaussian_blur2d(clips.flatten(0, 1), (side, side), (sigma, sigma), "replicate").unflatten(0, (2, 1))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    assert torch.equal(run("blur", clips, sigma=0), clips)


def test_a_clips_blur_does_not_depend_on_the_strongest_of_the_mixture():
    clips = faces(1, 24).expand(1, 1, 3, 24, 24)
    op = build("blur", BuildContext(), sigma=[0.5, 6])
    sigma = op.draw(keys(1))["sigma"]
    torch.testing.assert_close(op.apply(clips, {"sigma": sigma}), run("blur", clips, sigma=float(sigma)))


@pytest.mark.parametrize("width", [1, 3, 7])
def test_box_blur_is_the_mean_of_a_box(width):
    clips = faces(2, 40)
    expected = box_blur(clips.flatten(0, 1), width, "replicate").unflatten(0, (2, 1))
    torch.testing.assert_close(run("box_blur", clips, width=width), expected, atol=1e-5, rtol=0)


def test_a_box_between_two_whole_widths_counts_the_edges_in_part():
    ramp = torch.zeros(1, 1, 1, 9, 9)
    ramp[..., 4, 4] = 1
    out = run("box_blur", ramp, width=2.5)[0, 0, 0]
    line = torch.tensor([0.75 / 2.5, 1 / 2.5, 0.75 / 2.5])
    torch.testing.assert_close(out[3:6, 3:6], line[:, None] * line, atol=1e-6, rtol=0)
    assert out.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(("length", "degrees"), [(7.0, 0.0), (6.3, 90.0), (9.0, 45.0), (11.4, 17.0), (5.0, 200.0)])
def test_line_kernel_weights_are_the_part_of_the_line_in_each_pixel(length, degrees):
    kernel = line_kernels(torch.tensor([length]), torch.tensor([degrees]), 7)[0].numpy()
    along = (np.arange(200_000) + 0.5) / 200_000 * length - length / 2
    x, y = along * math.cos(math.radians(degrees)), along * math.sin(math.radians(degrees))
    counted, _, _ = np.histogram2d(y, x, bins=np.arange(16) - 7.5)
    np.testing.assert_allclose(kernel, counted / 200_000, atol=2e-4)


def test_line_blur_convolves_with_its_kernel():
    clips = faces(3, 32)
    op = build("line_blur", BuildContext(), length=[3, 9], angle=[0, 180])
    draws = op.draw(keys(3))
    out = op.apply(clips, draws)
    for k in range(3):
        kernel = line_kernels(draws["length"][k : k + 1], draws["angle"][k : k + 1], 4)[0].numpy()
        for channel in range(3):
            expected = ndimage.correlate(clips[k, 0, channel].numpy(), kernel, mode="nearest")
            np.testing.assert_allclose(out[k, 0, channel].numpy(), expected, atol=1e-5)


def test_noise_has_its_sigma_and_is_grey_or_not():
    clips = ones(20, value=0.5)
    noise = (run("noise", clips, sigma=10) - clips) * 255
    assert noise.std().item() == pytest.approx(10, rel=0.01)
    assert torch.corrcoef(noise[:, 0].transpose(0, 1).flatten(1))[0, 1].abs() < 0.05
    grey = run("noise", clips, sigma=10, grey=1.0)
    assert torch.equal(grey[:, :, 0], grey[:, :, 2])
    some = run("noise", ones(400, height=6, width=6, value=0.5), sigma=10, grey=0.25)
    assert (some[:, 0, 0] == some[:, 0, 1]).all(dim=(1, 2)).float().mean().item() == pytest.approx(0.25, abs=0.07)
    spread = build("noise", BuildContext(), sigma=[5, 25], per="clip").draw(keys(4000))["sigma"]
    assert [spread.min().item(), spread.mean().item(), spread.max().item()] == pytest.approx([5, 15, 25], abs=0.3)


def test_a_clip_of_fewer_frames_gets_the_patterns_of_the_first_ones():
    clips = ones(3, length=4, value=0.5)
    op = build("noise", context(4, 3, 40, 40), sigma=20)
    draws = op.draw(keys(3))
    whole = op.apply(clips, draws)
    assert torch.equal(op.apply(clips[:, :2], draws), whole[:, :2])
    with pytest.raises(PluginError, match="draws are for 4 frames, but the clips have 6"):
        op.apply(ones(3, length=6), draws)


def test_salt_and_pepper_turn_the_stated_share():
    clips = ones(20, value=0.5)
    out = run("salt_pepper", clips, amount=0.2, salt=0.25)
    assert (out == 1).float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert (out == 0).float().mean().item() == pytest.approx(0.15, abs=0.008)
    assert torch.equal(out[:, :, 0], out[:, :, 1])
    alone = run("salt_pepper", clips, amount=0.2, each="channel")
    assert (alone[:, :, 0] != alone[:, :, 1]).any()


def test_low_light_halves_the_light_for_each_stop():
    clips = ones(8, value=0.8)
    out = run("low_light", clips, exposure=-2, gamma=2.2, photons=1e6, read=0)
    assert out.mean().item() == pytest.approx(0.8 * 0.25 ** (1 / 2.2), rel=2e-3)
    lifted = run("low_light", clips, exposure=-2, photons=1e6, read=0, lift=True)
    assert lifted.mean().item() == pytest.approx(0.8, rel=2e-3)


def test_low_light_has_the_variance_of_photons_and_of_the_sensor():
    clips = ones(30, value=0.5)
    out = run("low_light", clips, exposure=-1, gamma=1, photons=400, read=5) * 400
    assert out.mean().item() == pytest.approx(100, rel=0.01)  # 0.5 x 1/2 x 400
    assert out.var().item() == pytest.approx(100 + 25, rel=0.03)
    few = run("low_light", ones(30), exposure=0, gamma=1, photons=3, read=0, lift=True) * 3
    assert torch.equal(few.round(), few)
    assert few[few < 3].unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("mean", [0.01, 0.1, 0.7])
def test_low_light_below_one_photon_counts_as_poisson(mean):
    few = run("low_light", ones(30, value=mean), exposure=0, gamma=1, photons=1, read=0)  # counts above 1 are white
    dark = np.exp(-mean)
    assert (few == 0).double().mean().item() == pytest.approx(dark, abs=4 * (dark * (1 - dark) / few.numel()) ** 0.5)


def test_white_balance_is_a_black_body_against_6500_k():
    clips = ones(value=0.5)
    torch.testing.assert_close(run("white_balance", clips, kelvin=6500), clips, atol=1e-4, rtol=0)
    warm = run("white_balance", clips, kelvin=2856)[0, 0, :, 0, 0]  # CIE illuminant A: x 0.44757, y 0.40745
    cold = run("white_balance", clips, kelvin=12000)[0, 0, :, 0, 0]
    assert warm[0] > warm[1] > warm[2]
    assert cold[0] < cold[1] < cold[2]
    to_linear = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    a, d = (to_linear @ [x / y, 1, (1 - x - y) / y] for x, y in ((0.44757, 0.40745), (0.31352, 0.32363)))
    gains = ((a / a[1]) / (d / d[1])) ** (1 / 2.2)
    np.testing.assert_allclose(warm.numpy(), 0.5 * gains, atol=0.01)


def test_gains_saturation_and_hue():
    clips = faces(2, 24)
    gained = run("channel_gain", clips, red=0.5, green=1, blue=0)
    torch.testing.assert_close(gained, clips * torch.tensor([0.5, 1, 0])[:, None, None])
    grey = run("saturation", clips, factor=0)
    luma = torch.from_numpy(
        np.stack(
            [np.asarray(Image.fromarray((c[0] * 255).byte().permute(1, 2, 0).numpy()).convert("L")) for c in clips]
        )
    )
    assert (grey[:, 0, 0] * 255 - luma).abs().max() < 1.0
    assert torch.allclose(grey[:, :, 0], grey[:, :, 2])
    torch.testing.assert_close(run("saturation", clips, factor=1), clips)
    whole = run("hue", clips, degrees=360)
    torch.testing.assert_close(whole, clips, atol=1e-5, rtol=0)
    mild = 0.4 + 0.2 * clips
    turned, back = run("hue", mild, degrees=70), None
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close((turned * weights).sum(dim=2), (mild * weights).sum(dim=2), atol=1e-4, rtol=0)
    back = run("hue", turned, degrees=-70)
    torch.testing.assert_close(back, mild, atol=1e-5, rtol=0)


@pytest.mark.parametrize("aspect", [0.25, 1, 4])
@pytest.mark.parametrize("area", [0.0, 0.1, 0.37, 0.9, 1.0])
def test_occlusion_covers_exactly_its_area(area, aspect):
    covered = 1 - run("occlusion", ones(6, height=30, width=44), area=area, aspect=aspect)
    torch.testing.assert_close(covered.mean(dim=(1, 2, 3, 4)), torch.full((6,), area), atol=2e-6, rtol=0)
    assert torch.equal(covered[:, :, 0], covered[:, :, 1])


def test_an_occlusion_moves_its_pixels_from_frame_to_frame_and_stays_inside():
    clips = ones(5, length=30, channels=1)
    covered = 1 - run("occlusion", clips, area=0.05, move=3.0)
    torch.testing.assert_close(covered.mean(dim=(2, 3, 4)), torch.full((5, 30), 0.05), atol=1e-5, rtol=0)
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    total = covered.sum(dim=(2, 3, 4))
    middle = torch.stack([(covered[:, :, 0] * axis).sum(dim=(2, 3)) / total for axis in (rows, columns)], dim=-1)
    steps = middle.diff(dim=1).norm(dim=-1)
    assert steps.max() < 3.02
    assert steps.median().item() == pytest.approx(3, abs=0.02)
    still = run("occlusion", clips, area=0.05)
    assert torch.equal(still, still[:, :1].expand_as(still))


@pytest.mark.parametrize(("fill", "value"), [("black", 0.0), ("grey", 0.5), ("white", 1.0), ("mean", 0.25)])
def test_filling_of_a_cover(fill, value):
    out = run("occlusion", ones(value=0.25), area=1.0, fill=fill)
    torch.testing.assert_close(out, ones(value=value))
    noisy = run("occlusion", ones(2, value=0.25), area=1.0, fill="noise")
    assert noisy.mean().item() == pytest.approx(0.5, abs=0.02)
    assert noisy.var().item() == pytest.approx(1 / 12, abs=0.005)
    assert not torch.equal(noisy[0], noisy[1])


@pytest.mark.parametrize("run_", ["rows", "columns"])
def test_bars_cover_their_share(run_):
    clips = ones(6, length=3, height=30, width=44)
    covered = 1 - run("bars", clips, share=0.35, count=4, run=run_, move=1.5)
    torch.testing.assert_close(covered.mean(dim=(2, 3, 4)), torch.full((6, 3), 0.35), atol=1e-5, rtol=0)
    axis = 3 if run_ == "columns" else 4
    assert torch.equal(covered, covered.narrow(axis, 0, 1).expand_as(covered))
    assert not torch.equal(covered[:, 0], covered[:, 1])


def test_bands_lie_over_eyes_and_mouth():
    eyes, mouth = (1 - run("face_band", ones(height=100), part=part)[0, 0, 0, :, 0] for part in ("eyes", "mouth"))
    torch.testing.assert_close(eyes.nonzero().flatten(), torch.arange(22, 46))
    torch.testing.assert_close(mouth.nonzero().flatten(), torch.arange(54, 100))
    half = 1 - run("face_band", ones(height=100), cover=0.5)[0, 0, 0, :, 0]
    torch.testing.assert_close(half.nonzero().flatten(), torch.arange(28, 40))


def test_patches_are_squares_of_the_grid():
    covered = 1 - run("patches", ones(200, channels=1, height=32, width=32), share=0.3, grid=4)
    squares = covered[:, 0, 0].unflatten(1, (4, 8)).unflatten(3, (4, 8))
    assert torch.equal(squares, squares[:, :, :1, :, :1].expand_as(squares))
    assert covered.mean().item() == pytest.approx(0.3, abs=0.03)


def test_differentiable_jpeg_is_near_libjpeg():
    clips = faces(4, 48)
    for quality, most in ((90, 1.5), (50, 2.5), (20, 4.5)):
        out = run("jpeg_differentiable", clips, quality=quality) * 255
        for clip, coded in zip(clips, out, strict=True):
            buffer = io.BytesIO()
            Image.fromarray((clip[0] * 255).round().byte().permute(1, 2, 0).numpy()).save(
                buffer, "jpeg", quality=quality
            )
            real = torch.from_numpy(np.asarray(Image.open(buffer)).copy()).permute(2, 0, 1).float()
            assert (coded[0] - real).abs().mean() < most


def test_invalid_input_is_refused_with_a_reason():
    with pytest.raises(ValidationError, match="sigma: the lowest value, 5, is above the highest, 2"):
        COMPONENTS["noise"].params(sigma=[5, 2])
    for name, wrong in (
        ("blur", {"sigma": -1}),
        ("noise", {"sigma": 256}),
        ("occlusion", {"area": 1.1}),
        ("white_balance", {"kelvin": 1000}),
        ("line_blur", {"length": 0}),
        ("jpeg_differentiable", {"quality": 0}),
        ("blur", {"sigma": float("nan")}),
        ("low_light", {"exposure": 5}),
    ):
        with pytest.raises(ValidationError):
            COMPONENTS[name].params(**wrong)
    with pytest.raises(PluginError, match="frames of 1 channels have no colour to change"):
        build("hue", context(1, 1, 24, 24))
    with pytest.raises(PluginError, match="frames of 5 x 24 pixels are too small"):
        run("noise", ones(height=5, width=24))
    with pytest.raises(PluginError, match="needs the length of the clips"):
        build("noise", BuildContext())
