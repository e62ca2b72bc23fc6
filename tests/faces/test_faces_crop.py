"""blear.imaging.crop and Box: the shared face crop."""

import numpy as np
import pytest

from blear.imaging import Box, crop

IMAGE = np.arange(8 * 10, dtype=np.uint8).reshape(8, 10)


def test_whole_pixels():
    assert np.array_equal(crop(IMAGE, Box(2, 1, 4, 3)), IMAGE[1:4, 2:6])


def test_fractional_edges_round_up_as_in_matlab():
    # rows ceil(1.2)..ceil(1.2 + 3 - 1) = 2..4, columns ceil(2.5)..ceil(2.5 + 4 - 1) = 3..6
    assert np.array_equal(crop(IMAGE, Box(2.5, 1.2, 4, 3)), IMAGE[2:5, 3:7])


def test_margin_is_a_share_of_each_side():
    assert Box(4, 3, 2, 4).grown(0.5) == Box(3, 1, 4, 8)
    assert np.array_equal(crop(IMAGE, Box(4, 2, 2, 4), margin=0.5, pad="clip"), IMAGE[0:8, 3:7])


def test_square_keeps_the_centre():
    assert Box(2, 1, 2, 6).squared() == Box(0, 1, 6, 6)
    assert crop(IMAGE, Box(2, 1, 2, 6), square=True).shape == (6, 6)


def test_margin_comes_before_square():
    # 2 x 4 grows to 3 x 6 and is then squared to 6 x 6 around (5, 4): columns 2..7, rows 1..6
    assert np.array_equal(crop(IMAGE, Box(4, 2, 2, 4), margin=0.25, square=True), IMAGE[1:7, 2:8])


@pytest.mark.parametrize(("pad", "value"), [("black", 0), ("mean", round(IMAGE.mean()))])
def test_outside_is_padded(pad, value):
    out = crop(IMAGE, Box(-2, -1, 4, 3), pad=pad)
    assert out.shape == (3, 4)
    assert np.array_equal(out[1:, 2:], IMAGE[:2, :2])
    assert (out[0] == value).all()
    assert (out[:, :2] == value).all()


def test_mean_pad_is_a_colour():
    rgb = np.zeros((4, 4, 3), np.uint8)
    rgb[...] = (10, 20, 30)
    rgb[0, 0, 0] = 26  # the mean of red becomes 11
    out = crop(rgb, Box(2, 2, 4, 4), pad="mean")
    assert out[3, 3].tolist() == [11, 20, 30]


def test_float_images_keep_their_mean():
    out = crop(np.array([[0.25, 0.5]]), Box(0, 0, 3, 1), pad="mean")
    assert out.tolist() == [[0.25, 0.5, 0.375]]


def test_clip_cuts_at_the_border():
    assert np.array_equal(crop(IMAGE, Box(8, 6, 5, 5), pad="clip"), IMAGE[6:, 8:])


@pytest.mark.parametrize("box", [Box(10, 0, 3, 3), Box(0, -5, 3, 3), Box(-3, 0, 3, 3), Box(0, 8, 3, 3)])
@pytest.mark.parametrize("pad", ["black", "mean", "clip"])
def test_no_overlap_is_an_error(box, pad):
    with pytest.raises(ValueError, match="10x8"):
        crop(IMAGE, box, pad=pad)


@pytest.mark.parametrize("box", [Box(2, 2, 0, 3), Box(2, 2, 3, -1), Box(2, 2, -4, 4)])
@pytest.mark.parametrize("square", [False, True])
def test_a_box_without_area_is_an_error(box, square):
    with pytest.raises(ValueError, match="no area"):
        crop(IMAGE, box, square=square, margin=0.2)


@pytest.mark.parametrize("box", [Box(float("nan"), 0, 3, 3), Box(0, 0, float("inf"), 3)])
def test_a_box_that_is_no_number_is_an_error(box):
    with pytest.raises(ValueError, match="finite"):
        crop(IMAGE, box)


def test_unknown_pad_is_an_error():
    with pytest.raises(ValueError, match="mirror"):
        crop(IMAGE, Box(0, 0, 3, 3), pad="mirror")


def test_the_crop_is_a_copy_when_padded_and_never_changes_the_image():
    before = IMAGE.copy()
    out = crop(IMAGE, Box(0, 0, 4, 4))
    out[...] = 255
    assert np.array_equal(IMAGE, before)
