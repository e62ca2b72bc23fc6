import math

import numpy as np
import pytest
import torch
from kornia.geometry.transform import rotate
from pydantic import ValidationError

from blear.contracts import BuildContext, ClipSpec, Degradation, DrawKeys
from blear.errors import PluginError
from blear_corruptions.geometry.affine import RandomAffine
from blear_corruptions.geometry.params import RandomAffineParams, RandomCropParams, RandomFlipParams, RandomShiftParams
from blear_corruptions.geometry.whole_pixels import RandomCrop, RandomFlip, RandomShift

ANY = BuildContext()
MENU = {
    "flip": RandomFlip(RandomFlipParams(), ANY),
    "crop": RandomCrop(RandomCropParams(size=5), ANY),
    "shift": RandomShift(RandomShiftParams(pixels=3), ANY),
    "affine": RandomAffine(RandomAffineParams(degrees=20, translate=0.1, scale=(0.8, 1.2)), ANY),
}


def keys(count, epoch=0, first=0):
    return DrawKeys(3, 1, np.full(count, epoch), np.arange(first, first + count))


def frames(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("op", MENU.values(), ids=MENU)
def test_same_for_any_batch_new_in_every_epoch_and_alike_for_all_frames_of_a_clip(op):
    assert isinstance(op, Degradation)
    clips = frames(8, 1, 2, 9, 7).expand(8, 3, 2, 9, 7)
    out = op.apply(clips, op.draw(keys(8)))
    alone = torch.cat([op.apply(clips[k : k + 1], op.draw(keys(1, first=k))) for k in range(8)])
    torch.testing.assert_close(out, alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(out, out[:, :1].expand_as(out), atol=0, rtol=0)
    assert not torch.equal(out, op.apply(clips, op.draw(keys(8, epoch=1))))
    assert list(op.levels()) == []


@pytest.mark.parametrize("op", MENU.values(), ids=MENU)
def test_compiles_as_one_graph(op):
    clips, draws = frames(4, 2, 1, 9, 7), op.draw(keys(4))
    compiled = torch.compile(op.apply, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(clips, draws), op.apply(clips, draws), atol=1e-6, rtol=0)


def test_flip_mirrors_columns_with_probability_p():
    op = RandomFlip(RandomFlipParams(p=0.25), ANY)
    flip = op.draw(keys(20_000))["flip"]
    assert flip.double().mean().item() == pytest.approx(0.25, abs=0.012)
    clips = frames(4, 2, 1, 3, 5)
    out = op.apply(clips, {"flip": torch.tensor([[True], [False], [True], [False]])})
    assert torch.equal(out[::2], clips[::2].flip(-1))
    assert torch.equal(out[1::2], clips[1::2])


@pytest.mark.parametrize(("p", "flips"), [(0.0, 0), (1.0, 1000)])
def test_flip_can_be_never_or_always(p, flips):
    assert int(RandomFlip(RandomFlipParams(p=p), ANY).draw(keys(1000))["flip"].sum()) == flips


def test_crop_is_a_window_and_every_place_occurs_alike():
    op = MENU["crop"]
    clip = torch.arange(9.0 * 7).reshape(1, 1, 1, 9, 7).expand(4500, 1, 1, 9, 7)
    out = op.apply(clip, op.draw(keys(4500)))
    assert out.shape == (4500, 1, 1, 5, 5)
    top, left = (out[:, 0, 0, 0, 0] // 7).long(), (out[:, 0, 0, 0, 0] % 7).long()
    window = clip[0, 0, 0, int(top[9]) : int(top[9]) + 5, int(left[9]) : int(left[9]) + 5]
    assert torch.equal(out[9, 0, 0], window)
    places = torch.bincount(top * 3 + left)
    assert len(places) == 5 * 3
    assert places.min() > 300 - 4 * math.sqrt(300)
    assert places.max() < 300 + 4 * math.sqrt(300)


def test_crop_never_leaves_the_frame_even_where_float32_rounds_the_draw_up_to_one():
    clip = torch.arange(25.0).reshape(1, 1, 1, 5, 5)
    out = RandomCrop(RandomCropParams(size=2), ANY).apply(clip, {"place": torch.ones(1, 2)})
    assert out.flatten().tolist() == [18, 19, 23, 24]


def test_crop_larger_than_the_frames_is_refused():
    params = RandomCropParams(size=8)
    with pytest.raises(PluginError, match=r"crop of 8 x 8 does not fit into frames of 9 x 7"):
        RandomCrop(params, BuildContext(clip=ClipSpec(1, 1, 9, 7)))
    op = RandomCrop(params, ANY)
    with pytest.raises(PluginError, match=r"set size to at most 7"):
        op.apply(frames(1, 1, 1, 9, 7), op.draw(keys(1)))


def test_shift_moves_down_and_right_and_repeats_the_border():
    clip = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]).reshape(1, 1, 1, 3, 3)
    out = MENU["shift"].apply(clip, {"shift": torch.tensor([[1, -1]])})
    assert out[0, 0, 0].tolist() == [[2, 3, 3], [2, 3, 3], [5, 6, 6]]


def test_shift_draws_every_whole_pixel_alike():
    drawn = MENU["shift"].draw(keys(7000))["shift"]
    assert drawn.dtype == torch.int64
    for axis in range(2):
        counts = torch.bincount(drawn[:, axis] + 3)
        assert len(counts) == 7
        assert (counts - 1000).abs().max() < 4 * math.sqrt(1000)


def affine(clip, angle=0.0, scale=1.0, right=0.0, down=0.0):
    named = {"angle": math.radians(angle), "scale": scale, "right": right, "down": down}
    return MENU["affine"].apply(clip, {name: torch.full((clip.shape[0],), value) for name, value in named.items()})


def test_affine_without_motion_is_the_identity():
    clip = frames(2, 1, 3, 10, 14)
    torch.testing.assert_close(affine(clip), clip, atol=1e-5, rtol=0)


def test_affine_turns_counter_clockwise():
    clip = frames(1, 2, 3, 12, 12)
    torch.testing.assert_close(affine(clip, angle=90), clip.rot90(1, (-2, -1)), atol=1e-4, rtol=0)


def test_affine_rotation_equals_kornia_in_frames_that_are_not_square():
    clip = frames(1, 1, 1, 20, 32)
    expected = rotate(clip[0], torch.tensor([17.0]), padding_mode="border", align_corners=True)
    torch.testing.assert_close(affine(clip, angle=17)[0], expected, atol=1e-3, rtol=0)


def test_affine_shift_by_a_share_is_a_shift_by_pixels():
    clip = frames(1, 1, 1, 10, 20)
    expected = MENU["shift"].apply(clip, {"shift": torch.tensor([[2, -5]])})
    torch.testing.assert_close(affine(clip, right=-0.25, down=0.2), expected, atol=1e-4, rtol=0)


def test_affine_magnifies_about_the_centre():
    clip = frames(1, 1, 1, 8, 8)
    halved = affine(clip, scale=0.5)[..., 2:6, 2:6]
    torch.testing.assert_close(halved, torch.nn.functional.avg_pool2d(clip[0], 2)[None], atol=1e-5, rtol=0)


def test_affine_draws_stay_within_bounds_and_fill_them():
    draws = MENU["affine"].draw(keys(5000))
    bounds = {"angle": (-math.radians(20), math.radians(20)), "scale": (0.8, 1.2), "right": (-0.1, 0.1)}
    for name, (low, high) in {**bounds, "down": (-0.1, 0.1)}.items():
        values, width = draws[name], high - low
        assert values.dtype == torch.float32
        assert low - 1e-6 <= values.min() < low + 0.01 * width
        assert high - 0.01 * width < values.max() <= high + 1e-6
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.02 * width)


def test_affine_bounds_the_wrong_way_round_are_refused():
    with pytest.raises(ValidationError, match="smallest magnification is above the largest"):
        RandomAffineParams(scale=(1.2, 0.8))
