import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch.nn.functional import interpolate

from blear.contracts import BuildContext, ClipSpec, Degradation, DrawKeys
from blear.errors import PluginError
from blear.imaging import resize_bicubic
from blear_corruptions.resolution.down_up import downscale, scale_mix
from blear_corruptions.resolution.params import DownscaleParams, ScaleMixParams

CONTEXT = BuildContext(clip=ClipSpec(1, 1, 96, 96))


def keys(count, epoch=0, seed=1, first=0):
    samples = np.arange(first, first + count)
    return DrawKeys(seed, 0, np.full(count, epoch), samples)


def frames(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(7))


def reference(clip_TCHW, factor):
    size = tuple(clip_TCHW.shape[-2:])
    for shape in (tuple(math.ceil(side / factor) for side in size), size):
        clip_TCHW = interpolate(clip_TCHW, shape, mode="bicubic", antialias=True, align_corners=False)
    return clip_TCHW


def mix(context=CONTEXT, **params):
    return scale_mix(ScaleMixParams(**params), context)


def factors_of(op, index_B):
    return np.array(op.factors)[index_B.numpy()]


def test_both_are_degradations():
    assert isinstance(downscale(DownscaleParams(factor=3), CONTEXT), Degradation)
    assert isinstance(mix(factors=[3]), Degradation)


@pytest.mark.parametrize("factor", [1, 2.5, 6, 16])
def test_downscale_equals_torch(factor):
    op = downscale(DownscaleParams(factor=factor), CONTEXT)
    clips = frames(3, 2, 1, 96, 96)
    out = op.apply(clips, op.draw(keys(3)))
    for sample in range(3):
        torch.testing.assert_close(out[sample], reference(clips[sample], factor), atol=1e-5, rtol=0)


def test_mix_equals_torch_with_each_clips_own_factor():
    op = mix(factors={3: 1, 4: 1, 6: 1})
    clips, draws = frames(12, 2, 3, 96, 96), op.draw(keys(12))
    assert draws["index"].dtype == torch.int64
    drawn = factors_of(op, draws["index"])
    assert set(drawn) == {3, 4, 6}
    out = op.apply(clips, draws)
    for sample, factor in enumerate(drawn):
        torch.testing.assert_close(out[sample], reference(clips[sample], factor), atol=1e-5, rtol=0)


def test_factors_are_drawn_by_their_weights():
    op = mix(factors={2: 1, 4: 0, 8: 3})
    drawn = factors_of(op, op.draw(keys(20_000))["index"])
    assert set(drawn) == {2, 8}
    assert (drawn == 8).mean() == pytest.approx(0.75, abs=0.012)  # four standard deviations


def test_a_list_weighs_all_alike():
    op = mix(factors=[3, 4, 6])
    drawn = factors_of(op, op.draw(keys(20_000))["index"])
    assert [(drawn == factor).mean() for factor in (3, 4, 6)] == pytest.approx([1 / 3] * 3, abs=0.014)


def test_draws_depend_on_the_key_alone_not_on_the_batch():
    op = mix(factors=[3, 4, 6])
    whole = op.draw(keys(10))["index"]
    singles = torch.cat([op.draw(keys(1, first=sample))["index"] for sample in range(10)])
    assert torch.equal(whole, singles)
    clips = frames(10, 1, 1, 96, 96)
    batched = op.apply(clips, {"index": whole})
    alone = torch.cat([op.apply(clips[k : k + 1], {"index": whole[k : k + 1]}) for k in range(10)])
    torch.testing.assert_close(batched, alone, atol=1e-6, rtol=0)


def test_epochs_differ_unless_frozen():
    fresh, frozen = mix(factors=[3, 4, 6]), mix(factors=[3, 4, 6], frozen_mix=True)
    assert not torch.equal(fresh.draw(keys(50, epoch=0))["index"], fresh.draw(keys(50, epoch=1))["index"])
    first = frozen.draw(keys(50, epoch=0))["index"]
    assert torch.equal(first, frozen.draw(keys(50, epoch=9))["index"])
    assert not torch.equal(first, frozen.draw(keys(50, seed=2))["index"])


def test_levels_build_and_stop_where_the_clip_is_too_small():
    op = downscale(DownscaleParams(factor=3, interpolation="area"), CONTEXT)
    assert [level["factor"] for level in op.levels()] == [1, 2, 3, 4, 6, 8, 12, 16]
    assert all(downscale(DownscaleParams(**level), CONTEXT) for level in op.levels())
    small = BuildContext(clip=ClipSpec(1, 1, 10, 8))
    assert [level["factor"] for level in downscale(DownscaleParams(factor=2), small).levels()] == [1, 2, 3, 4, 6, 8]
    mixed = mix(factors={6: 1, 3: 2, 12: 0})
    assert [mix(**level).factors for level in mixed.levels()] == [[3], [6]]


def test_too_strong_a_factor_is_refused_as_soon_as_the_size_is_known():
    with pytest.raises(PluginError, match=r"factor of 97 leaves less than one pixel of 96"):
        downscale(DownscaleParams(factor=97), CONTEXT)
    late = mix(BuildContext(), factors=[3, 50])
    with pytest.raises(PluginError, match=r"factor of 50 leaves less than one pixel of 48"):
        late.apply(frames(1, 1, 1, 48, 48), late.draw(keys(1)))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"factors": {3: 0, 4: 0}}, "weights of the factors are all 0"),
        ({"factors": {3: -1, 4: 2}}, "greater than or equal to 0"),
        ({"factors": [0.5]}, "greater than or equal to 1"),
        ({"factors": [3, 3]}, "listed twice"),
        ({"factors": []}, "at least 1 item"),
        ({"factors": [3], "frozen": True}, "Extra inputs"),
    ],
)
def test_mixtures_that_cannot_be_drawn_are_refused(params, words):
    with pytest.raises(ValidationError, match=words):
        ScaleMixParams(**params)


def test_saved_params_build_the_same_mixture():
    params = ScaleMixParams(factors={3: 1, 4.5: 2})
    assert ScaleMixParams.model_validate_json(params.model_dump_json()) == params


def test_apply_compiles_as_one_graph():
    op = mix(BuildContext(clip=ClipSpec(1, 1, 16, 16)), factors=[2, 4])
    clips, draws = frames(4, 1, 1, 16, 16), op.draw(keys(4))
    compiled = torch.compile(op.apply, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(clips, draws), op.apply(clips, draws), atol=1e-6, rtol=0)


PILLOW = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


@pytest.mark.parametrize("height_width", [(6, 9), (40, 33), (128, 96)])
@pytest.mark.parametrize("enlarge", ["bicubic", "bilinear", "area", "lanczos"])
@pytest.mark.parametrize("shrink", ["bicubic", "bilinear", "area", "lanczos"])
@pytest.mark.parametrize("factor", [1.7, 3.0])
def test_every_pair_of_kernels_equals_pillow_and_torch(factor, shrink, enlarge, height_width):
    """Pillow resizes float images along columns, then rows; its weights are exact up to single precision."""
    height, width = height_width
    frame = frames(1, 1, 1, height, width)
    op = downscale(DownscaleParams(factor=factor, interpolation=shrink, enlarge=enlarge), BuildContext())
    picture = frame[0, 0]
    for (rows, columns), kernel in zip(
        ((math.ceil(height / factor), math.ceil(width / factor)), (height, width)), (shrink, enlarge), strict=True
    ):
        if kernel == "area":
            picture = interpolate(picture[None], (rows, columns), mode="area")[0]
        else:
            resized = Image.fromarray(picture[0].numpy()).resize((columns, rows), PILLOW[kernel])
            picture = torch.from_numpy(np.asarray(resized).copy())[None]
    torch.testing.assert_close(op.apply(frame, op.draw(keys(1)))[0, 0], picture, atol=3e-6, rtol=0)


def imresize_rows(image, rows):
    """MATLAB's bicubic `imresize` along the first axis, by its documented steps in plain loops, counting from 1."""

    def cubic(x):
        x = abs(x)
        near = 1.5 * x**3 - 2.5 * x**2 + 1
        far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return near * (x <= 1) + far * (1 < x <= 2)

    length = len(image)
    scale = rows / length
    shrink = min(scale, 1.0)
    width = 4 / shrink
    mirror = [*range(1, length + 1), *range(length, 0, -1)]
    out = np.zeros((rows, *image.shape[1:]))
    for row in range(1, rows + 1):
        u = row / scale + 0.5 * (1 - 1 / scale)
        left = math.floor(u - width / 2)
        positions = range(left, left + math.ceil(width) + 2)
        weights = np.array([shrink * cubic(shrink * (u - position)) for position in positions])
        for position, weight in zip(positions, weights / weights.sum(), strict=True):
            out[row - 1] += weight * image[mirror[(position - 1) % len(mirror)] - 1]
    return out


def imresize(image, rows, columns):
    return imresize_rows(imresize_rows(image, rows).T, columns).T


@pytest.mark.parametrize("factor", [2, 3, 4, 6, 8, 12, 16])
def test_the_matlab_filter_is_imresize_with_mirrored_borders(factor):
    frame = frames(1, 1, 1, 96, 48)
    image = frame[0, 0, 0].double().numpy()
    expected = imresize(imresize(image, 96 // factor, 48 // factor), 96, 48)
    op = downscale(DownscaleParams(factor=factor, interpolation="matlab", enlarge="matlab"), BuildContext())
    found = op.apply(frame, op.draw(keys(1)))[0, 0, 0].numpy()
    assert np.abs(found - expected).max() < 1e-6
    small = resize_bicubic(image, 96 // factor, 48 // factor, mirrored=True)
    assert np.abs(resize_bicubic(small, 96, 48, mirrored=True) - expected).max() < 1e-6
    default = downscale(DownscaleParams(factor=factor), BuildContext())
    border = 4 * factor  # beyond it both filters are the same
    difference = np.abs(default.apply(frame, default.draw(keys(1)))[0, 0, 0].numpy() - expected)
    assert difference.max() > 1e-4
    if border < 20:
        assert difference[border:-border, border:-border].max() < 2e-6


@pytest.mark.parametrize("side", [6, 512])
def test_the_smallest_and_the_largest_frames_are_served(side):
    op = downscale(DownscaleParams(factor=side, interpolation="area", enlarge="area"), BuildContext())
    frame = frames(1, 1, 1, side, side)
    torch.testing.assert_close(op.apply(frame, op.draw(keys(1))), frame.mean().expand_as(frame), atol=1e-5, rtol=0)


def test_a_schedule_moves_the_mixture_in_lines():
    op = mix(schedule={0.2: {6: 1}, 0.6: {3: 1, 4: 1, 6: 2}, 1: {1: 1}})
    assert op.factors == [6, 3, 4, 1]
    expected = {
        0.0: [1, 0, 0, 0],
        0.2: [1, 0, 0, 0],
        0.4: [1.5 / 2.5, 0.5 / 2.5, 0.5 / 2.5, 0],
        0.6: [0.5, 0.25, 0.25, 0],
        0.8: [1 / 2.5, 0.5 / 2.5, 0.5 / 2.5, 0.5 / 2.5],
        1.0: [0, 0, 0, 1],
    }
    for progress, shares in expected.items():
        drawn = op.draw(dataclasses.replace(keys(8000), progress=progress))["index"]
        assert np.bincount(drawn, minlength=4) / 8000 == pytest.approx(shares, abs=0.02), progress
    assert [level["factors"] for level in op.levels()] == [[1], [3], [4], [6]]
    assert set(op.draw(keys(100))["index"].tolist()) == {3}  # an evaluation uses the last mixture


def test_mistakes_of_schedules_are_named():
    with pytest.raises(ValidationError, match="give exactly one of `factors` and `schedule`"):
        ScaleMixParams()
    with pytest.raises(ValidationError, match="give exactly one of `factors` and `schedule`"):
        ScaleMixParams(factors=[3], schedule={0: {3: 1}})
    with pytest.raises(ValidationError, match=r"schedule: at 0.5 the weights are all 0"):
        ScaleMixParams(schedule={0: {3: 1}, 0.5: {4: 0}})
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        ScaleMixParams(schedule={2: {3: 1}})
    with pytest.raises(ValidationError, match="at least 1 item"):
        ScaleMixParams(schedule={})
