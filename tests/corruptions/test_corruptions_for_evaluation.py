"""The evaluation-time version of augmentations that change the frames' size."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from blear.contracts import BuildContext, ClipSpec, DrawKeys, Resizing
from blear.degradation.chain import evaluation_chain
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import DegradationUse
from blear_corruptions.geometry.whole_pixels import CentreCrop

FRAMES = torch.rand(2, 3, 1, 9, 12, generator=torch.Generator().manual_seed(1))
NUMBERS = np.arange(2)


def for_evaluation(*uses):
    context = BuildContext(clip=ClipSpec(3, 1, 9, 12))
    chain, after = evaluation_chain(load_plugins(), [DegradationUse(**use) for use in uses], context)
    return chain(FRAMES, NUMBERS, NUMBERS), chain, after.clip


def resized(frames, height, width):
    flat = interpolate(frames.flatten(0, 1), (height, width), mode="bilinear", antialias=True, align_corners=False)
    return flat.unflatten(0, frames.shape[:2])


def test_a_random_crop_becomes_the_centre_crop():
    out, chain, clip = for_evaluation({"use": "random_flip"}, {"use": "random_crop", "size": 6}, {"use": "hsv_jitter"})
    assert len(chain.nodes) == 1  # the other augmentations keep the size
    assert torch.equal(out, FRAMES[..., 2:8, 3:9])  # of a margin of 3 rows, 2 are at the top
    assert clip == ClipSpec(3, 1, 6, 6)


def test_a_random_crop_becomes_a_resize_of_the_whole_frame():
    out, _, clip = for_evaluation({"use": "random_crop", "size": 6, "tested": "resize"})
    torch.testing.assert_close(out, resized(FRAMES, 6, 6))
    assert clip == ClipSpec(3, 1, 6, 6)


def test_resizing_stays_and_comes_first():
    out, _, clip = for_evaluation({"use": "resize", "size": 6}, {"use": "random_crop", "size": 5})
    torch.testing.assert_close(out, resized(FRAMES, 6, 8)[..., 1:6, 2:7])
    assert clip == ClipSpec(3, 1, 5, 5)


@pytest.mark.parametrize("per", ["frame", "clip"])
def test_a_random_box_does_not_move(per):
    out, _, clip = for_evaluation({"use": "random_box", "size": [7, 5], "per": per})
    torch.testing.assert_close(out, resized(FRAMES, 7, 5), atol=1e-5, rtol=0)
    assert clip == ClipSpec(3, 1, 7, 5)


def test_the_centre_crop_draws_nothing():
    assert CentreCrop(4).draw(DrawKeys(0, 0, NUMBERS, NUMBERS)) == {}
    assert not isinstance(CentreCrop(4), Resizing)
