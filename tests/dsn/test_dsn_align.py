"""The similarity transform and the aligned face."""

import numpy as np
import pytest
from dsn_faces import POINTS, spot_places, spots

from blear_dsn.align import align, similarity, template


def moved(points, degrees, scale, shift):
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn * scale, points @ (turn * scale).T + shift


@pytest.mark.parametrize(("degrees", "scale", "shift"), [(0, 1, (0, 0)), (30, 0.7, (5, -8)), (-170, 3.2, (-40, 11))])
def test_a_known_similarity_is_recovered(degrees, scale, shift):
    turn, target = moved(POINTS, degrees, scale, shift)
    found = similarity(POINTS, target)
    np.testing.assert_allclose(found[:, :2], turn, atol=1e-12)
    np.testing.assert_allclose(found[:, 2], shift, atol=1e-9)


def test_the_nearest_by_least_squares():
    """The four numbers of [[a, -b], [b, a]] x + t enter linearly, so numpy's solver gives the same answer."""
    target = template(112) + np.random.default_rng(0).normal(0, 5, (5, 2))
    rows, values = [], []
    for (x, y), (u, v) in zip(POINTS, target, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    np.testing.assert_allclose(similarity(POINTS, target), [[a, -b, tx], [b, a, ty]], atol=1e-9)


def test_similarity_has_no_reflection():
    mirrored = POINTS * (-1, 1)
    matrix = similarity(POINTS, mirrored)[:, :2]
    assert np.linalg.det(matrix) > 0
    assert matrix[0, 0] == pytest.approx(matrix[1, 1])


def test_points_without_a_transform():
    with pytest.raises(ValueError, match="coincide"):
        similarity(np.ones((5, 2)), template(112))
    with pytest.raises(ValueError, match="not finite"):
        similarity(np.full((5, 2), np.inf), template(112))


def test_the_template_scales_about_pixel_centres():
    np.testing.assert_allclose(template(112)[0], [38.2946, 51.6963])
    np.testing.assert_allclose(template(224)[0] + 0.5, 2 * (template(112)[0] + 0.5))


@pytest.mark.parametrize("zoom", [1, 4], ids=["enlarged", "shrunk"])
def test_aligned_landmarks_match_the_template(zoom):
    points = POINTS * zoom
    image = spots(points, (220 * zoom, 200 * zoom), radius=2 * zoom)
    face = align(image, points, 160)
    assert face.shape == (160, 160, 3)
    assert face.dtype == np.uint8
    matrix = similarity(points, template(160))
    expected = points @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(spot_places(face) - expected).max() < 0.7
    assert np.abs(expected - template(160)).max() < 12  # these points are not exactly a turned template


def test_black_outside_the_image():
    face = align(spots(), POINTS - (70, 50), 160)
    assert (face[:10, :10] == 0).all()
