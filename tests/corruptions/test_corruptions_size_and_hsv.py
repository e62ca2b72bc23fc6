"""Augmentations of FER-VGG-GRU with a draw for each frame or clip, compared with independent references."""

import colorsys
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate, pad
from torchvision.transforms import v2

from blear.contracts import BuildContext, ClipSpec, Degradation, DrawKeys
from blear.errors import PluginError
from blear_corruptions.colour.hsv_jitter import HsvJitter
from blear_corruptions.colour.params import HsvJitterParams
from blear_corruptions.geometry.params import RandomBoxParams, RandomFlipParams, ResizeParams
from blear_corruptions.geometry.resize import RandomBox, Resize
from blear_corruptions.geometry.whole_pixels import RandomFlip

KINDS = {
    "flip": (RandomFlip, RandomFlipParams),
    "box": (RandomBox, RandomBoxParams),
    "hsv": (HsvJitter, HsvJitterParams),
}


def context(length=3, channels=3, height=20, width=15):
    return BuildContext(clip=ClipSpec(length, channels, height, width))


def build(kind, length=3, **params):
    make, model = KINDS[kind]
    return make(model(**params), context(length))


def keys(count, epoch=0, first=0):
    return DrawKeys(3, 1, np.full(count, epoch), np.arange(first, first + count))


def frames(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("per", ["clip", "frame"])
@pytest.mark.parametrize("kind", KINDS)
def test_draws_depend_on_the_key_alone_and_are_made_per_clip_or_per_frame(kind, per):
    op = build(kind, per=per)
    assert isinstance(op, Degradation)
    clips = frames(6, 1, 3, 20, 15).expand(6, 3, 3, 20, 15)
    out = op.apply(clips, op.draw(keys(6)))
    alone = torch.cat([op.apply(clips[k : k + 1], op.draw(keys(1, first=k))) for k in range(6)])
    torch.testing.assert_close(out, alone, atol=1e-6, rtol=0)
    alike = [torch.equal(clip, clip[:1].expand_as(clip)) for clip in out]
    assert all(alike) if per == "clip" else not all(alike)
    assert not torch.equal(out, op.apply(clips, op.draw(keys(6, epoch=1))))
    assert list(op.levels()) == []
    compiled = torch.compile(op.apply, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(clips, op.draw(keys(6))), out, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_first_frames_of_a_longer_clip_draw_the_same(kind):
    short, long = (build(kind, length, per="frame").draw(keys(5)) for length in (2, 7))
    for name, value in short.items():
        assert torch.equal(value, long[name][:, :2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_for_each_frame_needs_the_length(kind):
    make, model = KINDS[kind]
    with pytest.raises(PluginError, match="needs the length of the clips"):
        make(model(per="frame"), BuildContext())
    assert make(model(per="clip"), BuildContext())


def reference_box(frame_CHW, top, bottom, left, right, size):
    """Crop of a frame padded with black, then torch's resize. Border moves are positive down and right."""
    height, width = frame_CHW.shape[-2:]
    room = max(height, width)
    padded = pad(frame_CHW, (room, room, room, room))
    crop = padded[:, room + top : room + height + bottom, room + left : room + width + right]
    return interpolate(crop[None], size, mode="bilinear", antialias=True, align_corners=False)[0]


@pytest.mark.parametrize("size", [None, (20, 15), (28, 9)])
def test_box_is_the_resized_crop_with_black_outside(size):
    op, clips = build("box", size=size), frames(8, 3, 3, 20, 15)
    draws = op.draw(keys(8))
    out = op.apply(clips, draws)
    assert out.shape[-2:] == (size or (20, 15))
    for b in range(8):
        for t in range(3):
            # 20 % of 20 rows are 4, of 15 columns 3: nine and seven possible moves
            places = draws["borders"][b, t].double().numpy()
            moves = [math.floor(u * n) - n // 2 for u, n in zip(places, (9, 9, 7, 7), strict=True)]
            expected = reference_box(clips[b, t], *moves, size or (20, 15))
            torch.testing.assert_close(out[b, t], expected, atol=2e-6, rtol=0)


def test_box_moves_every_border_by_each_whole_pixel_alike():
    """Every row has its index as value, so that a crop at native scale shows its first and last row."""
    op = build("box", per="clip", size=(20, 15))
    places = op.draw(keys(9000))["borders"][:, 0, 0]
    moves = torch.bincount((places * 9).floor().long().clamp(max=8))
    assert len(moves) == 9
    assert (moves - 1000).abs().max() < 4 * math.sqrt(1000)
    ramp = torch.arange(20.0).view(1, 1, 1, 20, 1).expand(2, 1, 1, 20, 15)
    out = op.apply(ramp, {"borders": torch.tensor([[[1.0, 1.0, 0.5, 0.5]], [[0.0, 0.0, 0.5, 0.5]]])})
    assert out[0, 0, 0, :, 7].tolist() == pytest.approx([*range(4, 20), 0, 0, 0, 0], abs=1e-5)  # four down: black below
    assert out[1, 0, 0, :, 7].tolist() == pytest.approx([0, 0, 0, 0, *range(16)], abs=1e-5)


def test_box_that_cannot_move_is_the_identity():
    clips = frames(2, 3, 3, 20, 15)
    op = build("box", move=0.0)
    torch.testing.assert_close(op.apply(clips, op.draw(keys(2))), clips, atol=1e-6, rtol=0)


def python_hsv(pixel, hue, saturation, value):
    h, s, v = colorsys.rgb_to_hsv(*pixel)
    return colorsys.hsv_to_rgb((h + hue / (2 * math.pi)) % 1, min(s * saturation, 1), min(v * value, 1))


def test_hsv_jitter_equals_pythons_colorsys_pixel_by_pixel():
    op, clips = build("hsv"), frames(4, 3, 3, 5, 4)
    draws = op.draw(keys(4))
    out = op.apply(clips, draws)
    for b in range(4):
        for t in range(3):
            drawn = [draws[name][b, t].item() for name in ("hue", "saturation", "value")]
            for y in range(5):
                for x in range(4):
                    expected = python_hsv(clips[b, t, :, y, x].tolist(), *drawn)
                    assert out[b, t, :, y, x].tolist() == pytest.approx(expected, abs=2e-5)


def test_hsv_draws_have_the_published_distribution():
    draws = build("hsv", per="clip").draw(keys(20_000))
    hue = draws["hue"] / (2 * math.pi)
    assert -0.1 <= hue.min() < -0.099
    assert 0.099 < hue.max() <= 0.1
    assert hue.std().item() == pytest.approx(0.2 / math.sqrt(12), rel=0.02)
    for name in ("saturation", "value"):
        factor = draws[name].double()
        up = factor[factor >= 1]
        assert len(up) / 20_000 == pytest.approx(0.5, abs=0.015)
        assert up.mean().item() == pytest.approx(1.25, abs=0.01)
        assert (1 / factor[factor < 1]).mean().item() == pytest.approx(1.25, abs=0.01)
        assert factor.min() >= 1 / 1.5 - 1e-6
        assert factor.max() <= 1.5 + 1e-6


def test_of_grey_frames_only_the_value_changes():
    op = HsvJitter(HsvJitterParams(), context(channels=1))
    clips = frames(2, 3, 1, 4, 4)
    draws = op.draw(keys(2))
    expected = (clips * draws["value"][:, :, None, None, None]).clamp(max=1)
    torch.testing.assert_close(op.apply(clips, draws), expected)
    with pytest.raises(PluginError, match="frames of 2 channels have no hue"):
        HsvJitter(HsvJitterParams(), context(channels=2))


@pytest.mark.parametrize(("size", "shape"), [(10, (13, 10)), (40, (53, 40)), ((7, 30), (7, 30))])
def test_resize_equals_torchvision(size, shape):
    clips = frames(2, 3, 3, 20, 15)
    op = Resize(ResizeParams(size=size), context())
    out = op.apply(clips, op.draw(keys(2)))
    assert out.shape == (2, 3, 3, *shape)
    expected = v2.functional.resize(clips, [size] if isinstance(size, int) else list(size), antialias=True)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=0)


def test_flip_of_each_frame_alone():
    op = build("flip", length=200, per="frame", p=0.25)
    flip = op.draw(keys(100))["flip"]
    assert flip.shape == (100, 200)
    assert flip.double().mean().item() == pytest.approx(0.25, abs=0.0125)
    clips = frames(1, 3, 1, 2, 5)
    out = op.apply(clips, {"flip": torch.tensor([[True, False, True]])})
    assert torch.equal(out, torch.stack([clips[:, 0].flip(-1), clips[:, 1], clips[:, 2].flip(-1)], dim=1))
