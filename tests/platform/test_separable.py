import math

import pytest
import torch
from kornia.filters import gaussian_blur2d
from torch.nn.functional import interpolate

from blear.errors import PluginError
from blear.separable import SeparableBank, apply, apply_grouped, compose, down_up, down_up_bank, from_operation, resize

FACTORS = (1, 2, 3, 4, 6, 8, 12, 16)


def reference(frames_TCHW, factor, mode="bicubic"):
    """One sample by torch itself."""
    height, width = frames_TCHW.shape[-2:]
    small = (math.ceil(height / factor), math.ceil(width / factor))
    smooth = {} if mode == "area" else {"antialias": True, "align_corners": False}
    shrunk = interpolate(frames_TCHW, size=small, mode=mode, **smooth)
    return interpolate(shrunk, size=(height, width), mode="bicubic", antialias=True, align_corners=False)


def stacked(bank, frames, index):
    """What a GPU does, here."""
    for rows, columns in bank.stacks:
        frames = apply(frames, rows, columns, index)
    return frames


def random_frames(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width"), [(48, 48), (96, 96), (64, 80)])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear", "area"])
def test_mixed_batch_equals_torch_sample_by_sample(height, width, mode):
    factors = (*FACTORS, 2.5, 7.3)
    frames = random_frames(len(factors), 2, 3, height, width)
    index = torch.arange(len(factors)).flip(0)
    out = down_up_bank(factors, height, width, mode)(frames, index)
    for sample, k in enumerate(index.tolist()):
        torch.testing.assert_close(out[sample], reference(frames[sample], factors[k], mode), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("factors", "stacks", "inner"), [((3, 4, 16), 2, 32), ((2, 2.5), 2, 48), ((1, 3), 1, 96), ((1.5, 8), 1, 96)]
)
def test_two_stacks_are_used_where_they_are_less_work(factors, stacks, inner):
    bank = down_up_bank(factors, 96, 96)
    assert len(bank.stacks) == stacks
    assert bank.stacks[0][0].shape == bank.stacks[0][1].shape == (len(factors), inner, 96)
    frames, index = random_frames(5, 2, 3, 96, 96), torch.tensor([1, 0, 0, 1, 1])
    torch.testing.assert_close(stacked(bank, frames, index), bank(frames, index), atol=1e-5, rtol=0)


def test_an_empty_batch_stays_empty():
    frames, index = random_frames(0, 1, 3, 48, 64), torch.zeros(0, dtype=torch.int64)
    assert down_up_bank([2, 3], 48, 64)(frames, index).shape == (0, 1, 3, 48, 64)
    assert SeparableBank([(resize(48, 24),)], [(resize(64, 16),)])(frames, index).shape == (0, 1, 3, 24, 16)


def test_factor_1_is_the_identity():
    frames = random_frames(3, 1, 3, 64, 80)
    bank, index = down_up_bank([4, 1], 64, 80), torch.tensor([1, 0, 1])
    for out in (bank(frames, index), stacked(bank, frames, index)):
        assert torch.equal(out[0], frames[0])
        assert torch.equal(out[2], frames[2])
        assert (out[1] - frames[1]).abs().max() > 0.1
    kept = frames.clone()
    bank(frames, torch.ones(3, dtype=torch.int64)).zero_()
    assert torch.equal(frames, kept)  # the result is never the input itself


@pytest.mark.parametrize("size", [48, 130])
def test_results_do_not_depend_on_the_batch(size):
    bank, frames = down_up_bank([2, 3, 1], size, size), random_frames(6, 1, 2, size, size)
    mixed = bank(frames, torch.arange(6) % 3)
    for operator in range(3):
        alone = bank(frames[operator::3], torch.full((2,), operator))
        torch.testing.assert_close(alone, mixed[operator::3], atol=2e-6, rtol=0)


def test_kernel_is_the_cubic_of_minus_one_half():
    # Keys' kernel at +-0.25, 0.75, 1.25 with a = -0.5, away from the borders; a = -0.75 would give other numbers.
    weights = resize(16, 32)[16]
    expected = torch.tensor([-0.0703125, 0.8671875, 0.2265625, -0.0234375], dtype=torch.float64)
    torch.testing.assert_close(weights[6:10].sort().values, expected.sort().values, atol=1e-12, rtol=0)
    assert weights.count_nonzero() == 4


def test_rows_sum_to_one_and_ceil_is_not_fooled_by_the_last_bit():
    torch.testing.assert_close(compose(*down_up(96, 5)).sum(dim=1), torch.ones(96, dtype=torch.float64))
    down, up = down_up(96, 96 / 7)
    assert torch.equal(down, resize(96, 7))
    assert torch.equal(up, resize(7, 96))


def test_blur_then_down_up_equals_kornia_then_torch():
    blur = from_operation(lambda image: gaussian_blur2d(image, (9, 1), (1.5, 1.5)), 48)
    whole, in_turn = (compose(blur, *down_up(48, 3)),), (blur, *down_up(48, 3))
    bank = SeparableBank([whole, in_turn], [in_turn, whole])
    frames = random_frames(2, 2, 3, 48, 48)
    index = torch.tensor([0, 1])
    for out in (bank(frames, index), stacked(bank, frames, index)):
        for sample in range(2):
            blurred = gaussian_blur2d(frames[sample], (9, 9), (1.5, 1.5))
            torch.testing.assert_close(out[sample], reference(blurred, 3), atol=1e-5, rtol=0)


def test_operators_may_change_the_size():
    bank = SeparableBank([(resize(48, 24),)], [(resize(64, 16),)])
    frames = random_frames(1, 1, 1, 48, 64)
    expected = interpolate(frames[0], size=(24, 16), mode="bicubic", antialias=True, align_corners=False)
    index = torch.zeros(1, dtype=torch.int64)
    torch.testing.assert_close(bank(frames, index)[0], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(stacked(bank, frames, index)[0], expected, atol=1e-5, rtol=0)


def test_gradients_of_both_engines_are_the_transposed_operators():
    steps = [down_up(8, 2), down_up(8, 4)], [down_up(12, 2), down_up(12, 4)]
    rows, columns = (torch.stack([compose(*of_one) for of_one in axis]) for axis in steps)
    frames = random_frames(3, 1, 2, 8, 12).double().requires_grad_()
    index = torch.tensor([1, 0, 1])
    assert torch.autograd.gradcheck(lambda x: apply(x, rows, columns, index), frames)
    assert torch.autograd.gradcheck(lambda x: apply_grouped(x, *steps, index), frames)


def test_half_precision_frames_keep_their_dtype_and_lose_only_their_own_rounding():
    bank = down_up_bank([4], 48, 48)
    frames = random_frames(2, 1, 3, 48, 48).half()
    index = torch.zeros(2, dtype=torch.int64)
    out = bank(frames, index)
    assert out.dtype == torch.float16
    assert torch.equal(out, bank(frames.float(), index).half())


def test_apply_compiles_as_one_graph():
    bank = down_up_bank([2, 3], 16, 16)
    compiled = torch.compile(bank.__call__, fullgraph=True, backend="aot_eager")
    frames, index = random_frames(4, 1, 1, 16, 16), torch.tensor([0, 1, 1, 0])
    torch.testing.assert_close(compiled(frames, index), bank(frames, index), atol=1e-6, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_bank_follows_the_frames_to_the_gpu():
    bank = down_up_bank([2, 3], 48, 48)
    frames, index = random_frames(4, 1, 1, 48, 48), torch.tensor([0, 1, 1, 0])
    expected = bank(frames, index)
    torch.testing.assert_close(bank(frames.cuda(), index.cuda()).cpu(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("factor", "words"),
    [(97, "leaves less than one pixel of 96"), (0.5, "0.5 does not shrink"), (float("nan"), "nan does not shrink")],
)
def test_impossible_factors_are_refused(factor, words):
    with pytest.raises(PluginError, match=words):
        down_up(96, factor)
