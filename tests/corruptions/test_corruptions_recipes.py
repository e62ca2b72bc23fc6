"""Real-ESRGAN, BSRGAN, GFPGAN and RealBasicVSR: tests for all recipes, and the draws of each recipe."""

import itertools
import math

import numpy as np
import pytest
import torch
from operation_tester import context, faces, keys
from pydantic import ValidationError

from blear.contracts import BuildContext
from blear.errors import PluginError
from blear.plugin.discovery import load_plugins
from blear_corruptions.recipes.blur_kernels import NONE, SINC
from blear_corruptions.recipes.canvas import Canvas
from blear_corruptions.recipes.noise import frame_keys, gaussian_or_poisson, noise
from blear_corruptions.recipes.params import RecipeParams
from blear_corruptions.recipes.random_draws import RandomNumbers

NAMES = ("real_esrgan", "bsrgan", "gfpgan", "real_basicvsr")
CATALOG = load_plugins()


def build(name, given, **params):
    return CATALOG.get("degradation", f"corruptions/{name}").build(params, given)


@pytest.mark.parametrize("name", NAMES)
class TestRecipe:
    @pytest.mark.parametrize(("channels", "height", "width"), [(1, 6, 9), (3, 33, 24)])
    def test_keeps_shape_dtype_and_range(self, name, channels, height, width):
        clips = torch.rand(4, 2, channels, height, width, generator=torch.Generator().manual_seed(1)) * 1.2 - 0.1
        op = build(name, context(2, channels, height, width))
        draws = op.draw(keys(4))
        assert all(len(value) == 4 for value in draws.values())
        out = op.apply(clips, draws)
        assert (out.shape, out.dtype) == (clips.shape, clips.dtype)
        assert bool(torch.isfinite(out).all())
        assert 0 <= out.min() < out.max() <= 1
        assert op.apply(clips.half(), draws).dtype == torch.float16

    def test_result_depends_on_the_key_and_not_on_the_batch(self, name):
        clips = faces(1, 24)[..., :16, :16].expand(4, 2, 3, 16, 16)
        op = build(name, context(2, 3, 16, 16))
        out = op.apply(clips, op.draw(keys(4)))
        assert torch.equal(out, op.apply(clips, op.draw(keys(4))))
        alone = torch.cat([op.apply(clips[k : k + 1], op.draw(keys(1, first=k))) for k in range(4)])
        torch.testing.assert_close(out, alone, atol=2e-4, rtol=0)
        assert not torch.allclose(out, op.apply(clips, op.draw(keys(4, epoch=1))), atol=1e-2)
        assert not torch.allclose(out[0], out[1], atol=1e-2)
        assert not torch.equal(out[:, 0], out[:, 1])  # every frame has its own noise

    def test_psnr_falls_from_level_to_level(self, name):
        clips = faces(12, 32)[:, :, :, ::2, ::2]
        psnr = []
        for level in build(name, context(1, 3, 16, 16)).levels():
            op = build(name, context(1, 3, 16, 16), **level)
            error = (op.apply(clips, op.draw(keys(12))) - clips).double().square().mean(dim=(1, 2, 3, 4))
            psnr.append((-10 * error.log10()).mean().item())
        assert len(psnr) == 5
        assert all(later < earlier - 0.2 for earlier, later in itertools.pairwise(psnr)), psnr

    def test_gradients_reach_the_clean_frames(self, name):
        clips = faces(2, 24).requires_grad_()
        op = build(name, context(1, 3, 24, 24), severity=2)
        op.apply(clips, op.draw(keys(2))).square().sum().backward()
        assert bool(torch.isfinite(clips.grad).all())
        assert bool((clips.grad.abs().sum(dim=(1, 2, 3, 4)) > 1).all())

    def test_compiles_as_one_graph(self, name):
        if name in ("bsrgan", "real_basicvsr"):
            pytest.skip("each step of bsrgan selects images; real_basicvsr is real_esrgan with other draws")
        clips = faces(2, 24)
        op = build(name, context(1, 3, 24, 24))
        draws = op.draw(keys(2))
        torch.compiler.reset()
        compiled = torch.compile(op.apply, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(clips, draws), op.apply(clips, draws), atol=2e-4, rtol=0)

    def test_invalid_input_is_refused_with_a_reason(self, name):
        with pytest.raises(PluginError, match="5 x 9 pixels are too small"):
            build(name, context(1, 3, 5, 9))
        with pytest.raises(PluginError, match="2 channels are neither grey nor RGB"):
            build(name, context(1, 2, 24, 24))


def test_a_mixture_of_severities_is_drawn_by_its_weights():
    op = build("gfpgan", context(1, 3, 24, 24), severity={1: 3, 5: 1, 2: 0})
    scale = op.draw(keys(4000))["scale"][:, 0].numpy()
    beyond_the_first = (scale > 8 ** (1 / 5)).mean()
    inside = (8 - 8 ** (1 / 5)) / (8 - 0.8)
    assert beyond_the_first == pytest.approx(0.25 * inside, abs=0.025)
    with pytest.raises(ValidationError, match="weights of severity are all 0"):
        RecipeParams(severity={2: 0})


def test_real_esrgan_draws_from_the_published_ranges():
    drawn = build("real_esrgan", context(1, 3, 96, 96)).draw(keys(6000))
    value = {name: tensor[:, 0].numpy() for name, tensor in drawn.items()}
    scale = value["scale0"]
    assert [(scale > 1).mean(), (scale < 1).mean(), (scale == 1).mean()] == pytest.approx([0.2, 0.7, 0.1], abs=0.02)
    assert (scale.min(), scale.max()) == pytest.approx((0.15, 1.5), abs=0.01)
    assert (value["scale1"].min(), value["scale1"].max()) == pytest.approx((0.3, 1.2), abs=0.01)
    for number, (noisy, poisson, blur) in enumerate(((30, 3, 3), (25, 2.5, 1.5))):
        assert value[f"sigma{number}"].max() == pytest.approx(noisy / 255, rel=0.01)
        assert value[f"poisson{number}"].max() == pytest.approx(poisson, rel=0.01)
        assert value[f"blur{number}_sigma_x"].max() == pytest.approx(blur, rel=0.01)
        assert value[f"gaussian{number}"].mean() == pytest.approx(0.5, abs=0.02)
        assert value[f"grey{number}"].mean() == pytest.approx(0.4, abs=0.02)
        quality = value[f"quality{number}"]
        assert (quality.min(), quality.max()) == pytest.approx((30, 95), abs=0.5)
    assert set(value["blur0_size"]) == {7, 9, 11, 13, 15, 17, 19, 21}
    assert (value["blur0_kind"] == SINC).mean() == pytest.approx(0.1, abs=0.015)
    assert (value["blur1_kind"] == NONE).mean() == pytest.approx(0.2, abs=0.02)
    assert (value["end_blur_kind"] == SINC).mean() == pytest.approx(0.8, abs=0.02)
    assert np.array_equal(value["coded_before"], ~value["coded_after"])
    small = value["blur0_size"] < 13
    assert value["blur0_cutoff"][small].min() == pytest.approx(math.pi / 3, abs=0.01)
    assert value["blur0_cutoff"].min() == pytest.approx(math.pi / 5, abs=0.01)


def test_real_basicvsr_walks_in_small_steps_and_a_clip_begins_as_a_shorter_one():
    long, short = (build("real_basicvsr", context(n, 3, 24, 24)).draw(keys(300)) for n in (12, 5))
    for name in ("scale0", "sigma1", "blur0_theta", "quality1"):
        assert torch.equal(long[name][:, :5], short[name])
    for name, step in (("scale0", 0.015), ("sigma0", 0.1 / 255), ("poisson1", 0.005), ("blur0_sigma_x", 0.02)):
        moved = (long[name][:, 1:] - long[name][:, :-1]).abs()
        assert 0.5 * step < moved.max() <= step * 1.001
    assert long["scale0"].min() >= 0.15 - 1e-6
    assert torch.equal(long["mode0"], long["mode0"][:, :1].expand(300, 12))
    with pytest.raises(PluginError, match="needs the length of the clips"):
        build("real_basicvsr", BuildContext())


def test_bsrgan_blurs_halved_images_as_for_scale_2():
    drawn = build("bsrgan", context(1, 3, 96, 96)).draw(keys(4000))
    halved = drawn["halve"][:, 0] > 1
    for number in (0, 1):
        along, across = (drawn[f"blur{number}_sigma_{axis}"][:, 0] for axis in "xy")
        for scale, those in ((2, halved), (4, ~halved)):
            assert along[those & (along != across)].square().max().item() == pytest.approx(4 + scale, rel=0.02)
            assert along[those & (along == across)].max().item() == pytest.approx(2 + 0.2 * scale, rel=0.02)


def test_bsrgan_shuffles_its_steps_and_keeps_the_resizes_in_turn():
    drawn = build("bsrgan", context(1, 3, 96, 96)).draw(keys(4000))
    order = torch.cat([drawn[f"step{place}"] for place in range(6)], dim=1).numpy()
    assert all(sorted(row) == [0, 1, 2, 3, 4, 5] for row in order)
    assert bool(((order == 2).argmax(axis=1) < (order == 3).argmax(axis=1)).all())
    assert len({tuple(row) for row in order}) == 360
    first = [(order[:, 0] == step).mean() for step in (0, 1, 4, 5)]
    assert first == pytest.approx([1 / 6] * 4, abs=0.02)
    assert (drawn["halve"] == 2).float().mean().item() == pytest.approx(0.25, abs=0.02)
    mixing = torch.cat([drawn[f"mix{place}"] for place in range(9)], dim=1).unflatten(1, (3, 3)).double()
    variances = torch.linalg.eigvalsh(mixing @ mixing.mT)
    assert variances.max().sqrt().item() == pytest.approx(25 / 255, rel=0.01)
    assert variances.min() >= -1e-9


def test_gfpgan_blurs_in_proportion_to_the_face():
    drawn = build("gfpgan", context(1, 3, 96, 96)).draw(keys(3000))
    for name, low, high in (("sigma_x", 0.1, 10), ("scale", 0.8, 8), ("sigma", 0, 20 / 255), ("quality", 60, 100)):
        assert (drawn[name].min().item(), drawn[name].max().item()) == pytest.approx((low, high), abs=high / 100)
    assert (drawn["shift0"] != 0).float().mean().item() == pytest.approx(0.3, abs=0.03)
    # With blur alone, a face twice as large is blurred over twice as many pixels.
    only = {"scale": 1.0, "sigma": 0.0, "quality": 100.0, "shift0": 0.0, "shift1": 0.0, "shift2": 0.0}
    spread = []
    for side in (48, 96):
        impulse = torch.zeros(1, 1, 1, side, side)
        impulse[..., side // 2, side // 2] = 1
        op = build("gfpgan", context(1, 1, side, side), grey=0)
        draws = {name: torch.full_like(v, only.get(name, v)) if name in only else v for name, v in drawn.items()}
        draws = {name: value[:1] for name, value in draws.items()} | {
            "sigma_x": torch.tensor([[8.0]]),
            "sigma_y": torch.tensor([[8.0]]),
        }
        out = op.apply(impulse, draws)[0, 0, 0].double()
        places = torch.arange(side) - side // 2
        spread.append((((out.sum(0) * places**2).sum() / out.sum()).sqrt()).item())
    assert spread[0] == pytest.approx(8 * 48 / 512, rel=0.2)
    assert spread[1] == pytest.approx(8 * 96 / 512, rel=0.2)


def test_poisson_noise_has_the_variance_of_photons():
    levels = torch.linspace(0.2, 0.8, 16).mul(255).round() / 255
    images = levels.repeat(1, 3, 64, 4)
    canvas = Canvas.full(images)
    grey = torch.zeros(1, dtype=torch.bool)
    z = noise(canvas, torch.tensor([5]), grey, 0)
    out = gaussian_or_poisson(canvas, z, grey, torch.zeros(1), torch.ones(1), grey)
    assert torch.allclose((out * 16).sub(images * 16).add(images * 16), out * 16)
    residual = (out - images).double()
    for value in levels[4:8]:
        there = residual[images == value]
        assert there.mean().item() == pytest.approx(0, abs=0.02)
        assert there.var().item() == pytest.approx(value.item() / 16, rel=0.25)  # 16 levels: photons of 1 / 16


def test_poisson_noise_below_one_photon_keeps_the_brightness():
    images = torch.full((1, 3, 128, 128), 5 / 255)
    images[..., :2, :] = torch.linspace(0, 1, 10).mul(255).round().div(255).repeat(26)[:256].view(2, 128)
    canvas, grey = Canvas.full(images), torch.zeros(1, dtype=torch.bool)
    z = noise(canvas, torch.tensor([5]), grey, 0)
    out = gaussian_or_poisson(canvas, z, grey, torch.zeros(1), torch.ones(1), grey)[..., 2:, :]
    counts = (out * 16).round()  # 11 levels: one photon is 1 / 16
    mean = 5 / 255 * 16
    assert counts.double().mean().item() == pytest.approx(mean, abs=4 * (mean / counts.numel()) ** 0.5)


def test_frames_of_a_clip_have_keys_of_their_own():
    made = frame_keys(torch.tensor([[1], [2]]), 3)
    assert made.shape == (6,)
    assert len(set(made.tolist())) == 6


def test_chances_are_taken_in_turn():
    numbers = RandomNumbers(keys(3), 4)
    uniform = keys(3).uniform(4 * 80).reshape(3, 4, 80)
    assert np.array_equal(numbers.column(), uniform[:, :, 0])
    assert np.array_equal(numbers.choice((1, 1)), np.broadcast_to(uniform[:, :1, 1] >= 0.5, (3, 4)))
    assert np.array_equal(numbers.bernoulli(0.3), np.broadcast_to(uniform[:, :1, 2] < 0.3, (3, 4)))
    walked = numbers.uniform(2, 5, 0.1)
    assert walked[:, 0] == pytest.approx(2 + 3 * uniform[:, 0, 3])
    assert walked[:, 1] == pytest.approx(np.clip(walked[:, 0] + (2 * uniform[:, 1, 3] - 1) * 0.1, 2, 5))
