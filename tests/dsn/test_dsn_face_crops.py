"""Selection and crop of a face, against hand-computed numbers."""

import numpy as np
import pytest
from PIL import Image

from blear_dsn.face_crops import box_with_margin, crop_face, display_size, select_face

BOXES = np.array([[10.0, 10, 50, 50], [80, 60, 110, 90], [0, 0, 60, 60]])
"""In an image of 200 x 150 pixels, whose centre is (100, 75). Area, squared distance, score:
1600, 70^2 + 45^2 = 6925, -12250; 900, 5^2 + 0^2 = 25, 850; 3600, 70^2 + 45^2 = 6925, -10250."""


def test_a_central_face_is_selected_over_a_larger_one():
    assert select_face(BOXES, 150, 200) == 1
    assert select_face(BOXES[[0, 2]], 150, 200) == 1
    assert select_face(BOXES[:1], 150, 200) == 0


def test_a_large_face_near_the_centre_is_selected():
    boxes = np.array([[95.0, 70, 105, 80], [60, 40, 120, 100]])  # 100 - 0; 3600 - 2 * (10^2 + 5^2) = 3350
    assert select_face(boxes, 150, 200) == 1
    away = boxes + np.array([[0, 0, 0, 0], [60, 0, 60, 0]])  # 3600 - 2 * (50^2 + 5^2) = -1450
    assert select_face(away, 150, 200) == 0


def test_fifty_pixels_more_on_each_side_cut_at_the_border():
    assert box_with_margin(np.array([80.7, 60.2, 110.9, 90.4]), 150, 200) == (30, 10, 160, 140)
    assert box_with_margin(np.array([10.0, 10, 50, 50]), 150, 200) == (0, 0, 100, 100)
    assert box_with_margin(np.array([160.0, 110, 190, 140]), 150, 200) == (110, 60, 200, 150)
    assert box_with_margin(np.array([80.7, 60.2, 110.9, 90.4]), 150, 200, margin=0.5) == (80, 59, 111, 90)


def test_the_crop_is_stretched_to_a_square():
    image = np.random.default_rng(1).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    face = crop_face(image, np.array([80.7, 60.2, 110.9, 90.4]))
    assert face.shape == (400, 400, 3)
    expected = Image.fromarray(image[10:140, 30:160]).resize((400, 400), Image.Resampling.BILINEAR)
    assert np.array_equal(face, np.asarray(expected))
    wide = np.zeros((150, 200, 3), np.uint8)
    wide[:, 100:] = 200
    face = crop_face(wide, np.array([0.0, 60, 200, 90]), 100)  # 200 x 130 pixels become 100 x 100
    assert (face[:, :49] == 0).all()
    assert (face[:, 51:] == 200).all()
    small = crop_face(image, np.array([0.0, 0, 8, 4]), 4, margin=0)
    assert small.shape == (4, 4, 3)


def test_boxes_outside_the_image_are_rejected():
    image = np.zeros((150, 200, 3), np.uint8)
    with pytest.raises(ValueError, match="outside the image of 200x150"):
        crop_face(image, np.array([300.0, 10, 320, 40]))
    with pytest.raises(ValueError, match="not finite"):
        crop_face(image, np.array([np.nan, 10, 320, 40]))


def test_frames_are_1024_wide_by_their_display_aspect():
    assert display_size(720, 576, 16 / 15) == (1024, 768)  # 4:3 PAL
    assert display_size(720, 576, 64 / 45) == (1024, 576)  # 16:9 PAL
    assert display_size(1920, 1080) == (1024, 576)
    assert display_size(640, 480) == (1024, 768)
