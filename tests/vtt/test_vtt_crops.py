"""Square crops: the spec's formula, whole pixels, padding, room."""

import numpy as np
import pytest

from blear.errors import DataError
from blear.imaging import Box, face_square
from blear_vtt.datasets.crops import crop_face, resize_square
from blear_vtt.datasets.params import CropParams


def numbered(height=40, width=50):
    """Returns an image whose pixel values are coordinates: red the column, green the row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.full_like(rows, 9)], axis=-1).astype(np.uint8)


def test_side_and_position_equal_hand_computation():
    # m = 0.5 (20 + 30) = 25; side = sqrt(45 * 55) = 49.7; centre (20, 31)
    assert face_square(Box(10, 16, 20, 30), 0.5) == Box(20 - 24, 31 - 24, 49, 49)
    # m = 0.3 (20 + 30) = 15; sqrt(35 * 45) = 39.7
    assert face_square(Box(10, 16, 20, 30), 0.3).width == 39
    assert face_square(Box(10.5, 16.2, 20, 30), 0) == Box(20 - 12, 31 - 12, 24, 24)


def test_the_published_side_of_stage_one_lacks_the_height():
    params = CropParams(size=45, margin=0.5, legacy_square=True)
    face = crop_face(numbered(), Box(10, 16, 20, 30), params, "black", "x")  # side 20 + 25 = 45, centre (20, 31)
    assert face.shape == (45, 45, 3)
    np.testing.assert_array_equal(face[2, 2:, 0], np.arange(43))
    assert (face[:, :2] == 0).all()
    np.testing.assert_array_equal(face[:31, 2, 1], np.arange(9, 40))
    assert (face[31:] == 0).all()


def test_a_square_box_with_margin_one_half_doubles():
    assert face_square(Box(100, 100, 40, 40), 0.5) == Box(80, 80, 80, 80)


def test_room_keeps_the_centre():
    square = Box(80, 80, 80, 80)
    assert face_square(square, 0.0, 1.3) == Box(120 - 52, 120 - 52, 104, 104)
    assert face_square(square, 0.0) == square


def test_the_crop_holds_exactly_the_pixels_of_the_square():
    params = CropParams(size=8, margin=0.0)
    face = crop_face(numbered(), Box(12, 20, 8, 8), params, "black", "x")
    assert face.shape == (8, 8, 3)
    np.testing.assert_array_equal(face[..., 0], np.tile(np.arange(12, 20), (8, 1)))
    np.testing.assert_array_equal(face[:, 0, 1], np.arange(20, 28))


def test_padding_is_black_or_the_mean_of_ten_by_ten_inner_pixels():
    params = CropParams(size=40, margin=0.0)
    image, box = numbered(), Box(-10, -10, 40, 40)
    black = crop_face(image, box, params, "black", "x")
    assert not black[:10].any()
    assert not black[:, :10].any()
    np.testing.assert_array_equal(black[10:, 10:], image[:30, :30])
    mean = crop_face(image, box, params, "mean", "x")
    np.testing.assert_array_equal(mean[10:, 10:], image[:30, :30])
    places = [round(k * 29 / 9) for k in range(10)]
    expected = [round(sum(places) / 10), round(sum(places) / 10), 9]
    assert mean[0, 0].tolist() == expected
    assert mean[39, 3].tolist() == expected


def test_room_stores_the_surroundings_at_the_same_scale():
    params = CropParams(size=10, margin=0.0, room=2.0)
    assert params.pixels == 20
    face = crop_face(numbered(), Box(15, 15, 10, 10), params, "black", "x")
    np.testing.assert_array_equal(face[5:15, 5:15], numbered()[15:25, 15:25])
    np.testing.assert_array_equal(face[0, :, 0], np.arange(10, 30))


def test_a_picture_without_box_uses_its_central_square():
    face = crop_face(numbered(20, 30), None, CropParams(size=20), "black", "x")
    np.testing.assert_array_equal(face, numbered(20, 30)[:, 5:25])
    roomy = crop_face(numbered(20, 20), None, CropParams(size=20, room=1.5), "black", "x")
    np.testing.assert_array_equal(roomy[5:25, 5:25], numbered(20, 20))
    assert not roomy[:5].any()


def test_downscaling_averages_areas():
    image = np.array([[0, 100], [50, 250]], dtype=np.uint8)[..., None].repeat(3, axis=2)
    assert resize_square(image, 1).tolist() == [[[100, 100, 100]]]
    assert resize_square(image, 4).shape == (4, 4, 3)
    assert resize_square(image, 2) is image


def test_a_box_outside_the_picture_is_rejected():
    with pytest.raises(DataError, match=r"row 7: .* does not overlap the image of 50x40"):
        crop_face(numbered(), Box(200, 200, 10, 10), CropParams(), "black", "row 7")
