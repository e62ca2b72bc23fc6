import math

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from blear.contracts import BuildContext, ClipSpec, Degradation, DrawKeys
from blear.errors import PluginError
from blear_corruptions.blur.params import RandomBlurParams
from blear_corruptions.blur.random_blur import RandomBlur
from blear_corruptions.colour.params import RandomBrightnessParams
from blear_corruptions.colour.random_brightness import RandomBrightness
from blear_corruptions.noise.params import RandomNoiseParams
from blear_corruptions.noise.random_noise import RandomNoise
from blear_corruptions.random_patterns import normal

ANY = BuildContext()
MENU = {
    "noise": RandomNoise(RandomNoiseParams(p=0.5), ANY),
    "brightness": RandomBrightness(RandomBrightnessParams(p=0.5, offset=0.2), ANY),
    "blur": RandomBlur(RandomBlurParams(p=0.5), ANY),
}
MASK = 2**64 - 1


def keys(count, epoch=0, first=0):
    return DrawKeys(3, 1, np.full(count, epoch), np.arange(first, first + count))


def frames(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("op", MENU.values(), ids=MENU)
def test_same_for_any_batch_new_in_every_epoch_and_alike_for_all_frames_of_a_clip(op):
    assert isinstance(op, Degradation)
    clips = frames(12, 1, 3, 9, 7).expand(12, 2, 3, 9, 7)
    out = op.apply(clips, op.draw(keys(12)))
    alone = torch.cat([op.apply(clips[k : k + 1], op.draw(keys(1, first=k))) for k in range(12)])
    torch.testing.assert_close(out, alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(out, out[:, :1].expand_as(out), atol=1e-6, rtol=0)
    assert not torch.equal(out, op.apply(clips, op.draw(keys(12, epoch=1))))
    untouched = [bool(torch.equal(a, b)) for a, b in zip(out, clips, strict=True)]
    assert 0 < sum(untouched) < 12
    assert out.min() >= 0
    assert out.max() <= 1
    assert list(op.levels()) == []


@pytest.mark.parametrize("op", MENU.values(), ids=MENU)
def test_compiles_as_one_graph(op):
    clips, draws = frames(4, 2, 1, 9, 7), op.draw(keys(4))
    op.apply(clips, draws)
    compiled = torch.compile(op.apply, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(clips, draws), op.apply(clips, draws), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", MENU)
def test_a_tenth_of_the_clips_is_changed_by_default(name):
    kind = {
        "noise": (RandomNoise, RandomNoiseParams, "std"),
        "brightness": (RandomBrightness, RandomBrightnessParams, "offset"),
        "blur": (RandomBlur, RandomBlurParams, "index"),
    }[name]
    drawn = kind[0](kind[1](), ANY).draw(keys(20_000))[kind[2]]
    assert (drawn != 0).double().mean().item() == pytest.approx(0.1, abs=0.01)


def splitmix(z):
    z = (z + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_normal_numbers_are_those_of_splitmix_and_box_muller_in_whole_numbers():
    key, counters = 123456789012345, [0, 1, 2, 150_527]
    got = normal(torch.tensor([key]), torch.tensor([counters]))
    for value, counter in zip(got[0].tolist(), counters, strict=True):
        bits = splitmix(splitmix(key) ^ (counter * 0x9E3779B97F4A7C15 & MASK))
        radius = math.sqrt(-2 * math.log(((bits >> 32) + 0.5) / 2**32))
        assert value == pytest.approx(radius * math.cos(2 * math.pi * (bits & 0xFFFFFFFF) / 2**32), abs=1e-6)


def test_normal_numbers_are_normal_and_independent_of_their_neighbours():
    values = normal(torch.tensor([1, 2]), torch.arange(100_000).expand(2, -1)).double().numpy()
    assert stats.kstest(values[0], "norm").pvalue > 0.01
    assert abs(np.corrcoef(values[0], values[1])[0, 1]) < 0.015
    assert abs(np.corrcoef(values[0, 1:], values[0, :-1])[0, 1]) < 0.015


def noise_of(grey, length=1, **params):
    clip = torch.full((1, length, 3, 60, 60), 0.5)
    draws = {"std": torch.tensor([0.04]), "grey": torch.tensor([grey]), "key": torch.tensor([77])}
    return RandomNoise(RandomNoiseParams(**params), ANY).apply(clip, draws)[0] - 0.5


def test_noise_has_the_drawn_deviation_and_is_grey_where_drawn():
    colour, grey = noise_of(False)[0], noise_of(True)[0]
    assert colour.std().item() == pytest.approx(0.04, abs=0.001)
    assert colour.mean().item() == pytest.approx(0, abs=0.0015)
    assert abs(np.corrcoef(colour[0].ravel(), colour[1].ravel())[0, 1]) < 0.05
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])
    torch.testing.assert_close(grey[0], colour[0])


def test_noise_per_frame_differs_between_frames():
    still, moving = noise_of(False, 3), noise_of(False, 3, per_frame=True)
    assert torch.equal(still[0], still[2])
    assert abs(np.corrcoef(moving[0].ravel(), moving[2].ravel())[0, 1]) < 0.03


def test_noise_draws():
    drawn = RandomNoise(RandomNoiseParams(p=1), ANY).draw(keys(20_000))
    assert drawn["std"].max().item() == pytest.approx(0.05, abs=1e-4)
    assert drawn["std"].mean().item() == pytest.approx(0.025, abs=3e-4)
    assert drawn["grey"].double().mean().item() == pytest.approx(0.5, abs=0.015)
    assert len(drawn["key"].unique()) == 20_000


def test_brightness_adds_the_offset_and_clips():
    op = MENU["brightness"]
    clip = torch.tensor([0.0, 0.1, 0.5, 0.95]).reshape(1, 1, 1, 2, 2).expand(2, 1, 1, 2, 2)
    out = op.apply(clip, {"offset": torch.tensor([0.2, -0.2])})
    torch.testing.assert_close(out[0].flatten(), torch.tensor([0.2, 0.3, 0.7, 1.0]))
    torch.testing.assert_close(out[1].flatten(), torch.tensor([0.0, 0.0, 0.3, 0.75]))
    drawn = RandomBrightness(RandomBrightnessParams(p=1), ANY).draw(keys(5000))["offset"]
    assert drawn.min().item() == pytest.approx(-0.01, abs=1e-4)
    assert drawn.max().item() == pytest.approx(0.01, abs=1e-4)


@pytest.mark.parametrize(("index", "height", "width"), [(1, 3, 3), (4, 3, 9), (7, 5, 7), (13, 9, 3), (16, 9, 9)])
def test_blur_equals_opencv(index, height, width):
    clip = frames(1, 2, 3, 20, 14)
    out = MENU["blur"].apply(clip, {"index": torch.tensor([index])})
    for frame, blurred in zip(clip[0].numpy(), out[0].numpy(), strict=True):
        expected = cv2.GaussianBlur(frame.transpose(1, 2, 0), (width, height), 0)
        np.testing.assert_allclose(blurred.transpose(1, 2, 0), expected, atol=1e-6)


def test_blur_draws_every_pair_of_sizes_alike():
    drawn = RandomBlur(RandomBlurParams(p=1), ANY).draw(keys(16_000))["index"]
    counts = torch.bincount(drawn)
    assert len(counts) == 17
    assert counts[0] == 0
    assert (counts[1:] - 1000).abs().max() < 4 * math.sqrt(1000)


def test_impossible_blurs_are_refused():
    with pytest.raises(PluginError, match=r"kernel of 9 pixels does not fit into frames of 4 x 7"):
        RandomBlur(RandomBlurParams(), BuildContext(clip=ClipSpec(1, 3, 4, 7)))
    with pytest.raises(ValidationError, match="must be odd; replace 4"):
        RandomBlurParams(kernels=(3, 4))
