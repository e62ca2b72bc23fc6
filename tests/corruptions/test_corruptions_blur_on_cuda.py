"""Both implementations of blur: matrices, and kornia's filter, the default on CUDA."""

import pytest
import torch
from operation_tester import context, faces, keys
from torch._subclasses.fake_tensor import FakeTensorMode

from blear_corruptions.blur import filters, random_blur, separable_filter
from blear_corruptions.blur.filters import Blur, BoxBlur
from blear_corruptions.blur.params import BlurParams, BoxBlurParams, RandomBlurParams
from blear_corruptions.blur.random_blur import RandomBlur

OPERATIONS = {
    "blur": (Blur, BlurParams(sigma=(0, 3))),
    "box_blur": (BoxBlur, BoxBlurParams(width=(1, 6.5))),
    "random_blur": (RandomBlur, RandomBlurParams(p=0.7, kernels=(3, 5, 9))),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_both_ways_give_the_same_frames(name, monkeypatch):
    kind, params = OPERATIONS[name]
    clips = faces(8, 24).expand(8, 2, 3, 24, 24)
    operation = kind(params, context(2, 3, 24, 24))
    draws = operation.draw(keys(8))
    with_matrices = operation.apply(clips, draws)
    for module in (filters, random_blur):
        monkeypatch.setattr(module, "uses_kornia", lambda frames: True)
    torch.testing.assert_close(operation.apply(clips, draws), with_matrices, atol=1e-5, rtol=0)


def test_kornia_is_the_default_on_cuda_alone():
    assert separable_filter.ON_CUDA == "kornia"
    assert not separable_filter.uses_kornia(torch.empty(0))
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert separable_filter.uses_kornia(torch.empty(0, device="cuda"))
