import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import interpolate

from blear.contracts import BuildContext, ClipSpec, Degradation, DrawKeys
from blear.errors import PluginError
from blear_corruptions.params import DownscaleParams, ScaleMixParams
from blear_corruptions.scale import downscale, scale_mix

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


def test_weights_are_what_is_drawn():
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
