"""Resize of a batch with different sizes, compared with torch's interpolate of single images."""

import pytest
import torch
from torch.nn.functional import interpolate

from blear_corruptions.recipes.canvas import AREA, BICUBIC, BILINEAR, Canvas

NAMES = {AREA: "area", BILINEAR: "bilinear", BICUBIC: "bicubic"}
ROWS = ([20, 20, 20, 13, 13, 20, 7, 20, 1], [3, 7, 30, 20, 25, 20, 1, 10, 13])
COLUMNS = ([26, 26, 26, 26, 9, 26, 11, 26, 2], [5, 26, 31, 13, 7, 26, 3, 20, 14])


def resized(image, rows, columns, mode):
    corners = {} if mode == AREA else {"align_corners": False}
    return interpolate(image[None], (rows, columns), mode=NAMES[mode], **corners)[0]


@pytest.mark.parametrize("mode", NAMES)
def test_is_torchs_interpolate_for_each_image(mode):
    images = torch.rand(9, 3, 20, 26, generator=torch.Generator().manual_seed(1))
    (rows, new_rows), (columns, new_columns) = map(torch.tensor, ROWS), map(torch.tensor, COLUMNS)
    out = Canvas(images, rows, columns).resized(new_rows, new_columns, torch.full((9,), mode), 32, 33)
    assert out.images_NCHW.shape == (9, 3, 32, 33)
    for k in range(9):
        expected = resized(images[k, :, : rows[k], : columns[k]], int(new_rows[k]), int(new_columns[k]), mode)
        made = out.images_NCHW[k]
        torch.testing.assert_close(made[:, : new_rows[k], : new_columns[k]], expected, atol=2e-6, rtol=0)
        last = made[:, new_rows[k] - 1, new_columns[k] - 1]
        torch.testing.assert_close(made[:, new_rows[k] :, new_columns[k] :], last[:, None, None].expand(3, *_rest(k)))
        assert int(out.inside()[k].sum()) == new_rows[k] * new_columns[k]


def _rest(k):
    return 32 - ROWS[1][k], 33 - COLUMNS[1][k]


def test_modes_mix_in_a_batch_and_gradients_flow():
    images = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(2)).requires_grad_()
    canvas = Canvas.full(images)
    out = canvas.resized(torch.tensor([5, 5, 5]), torch.tensor([4, 6, 12]), torch.tensor([0, 1, 2]), 5, 12)
    for k, columns in enumerate((4, 6, 12)):
        expected = resized(images[k], 5, columns, k)
        torch.testing.assert_close(out.images_NCHW[k, :, :, :columns], expected, atol=2e-6, rtol=0)
    out.images_NCHW.sum().backward()
    assert float(images.grad.abs().sum()) > 0
