"""Estimated degradation, smoothing and the choice of frames."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from blear.contracts import BuildContext
from blear.predict.degradation import estimate_degradation
from blear.predict.smoothing import TrackSmoother
from blear.predict.video import FrameRateChoice
from blear.video import VideoFrame
from blear_faces.dataset import ProceduralFaces
from blear_faces.params import ProceduralParams


@pytest.fixture(scope="module")
def face() -> Image.Image:
    """A drawn face of 128 x 128 pixels."""
    params = ProceduralParams(size=128, per_subject=1, subjects={"train": 1, "dev": 1})
    dataset = ProceduralFaces(params, BuildContext())
    return Image.fromarray(next(iter(dataset.samples("train", dataset.parts("train")[0]))).frames[0])


def test_blur_rises_with_the_radius(face: Image.Image) -> None:
    blurred = [face.filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 1, 2, 4)]
    values = [estimate_degradation(np.array(picture))["blur"] for picture in blurred]
    assert values == sorted(values)
    assert values[-1] - values[0] > 0.1


def test_noise_is_that_which_was_added(face: Image.Image) -> None:
    clean = np.array(face.filter(ImageFilter.GaussianBlur(1)).convert("L"), float)
    for sigma in (5, 10, 20):
        noisy = clean + np.random.default_rng(0).normal(0, sigma, clean.shape)
        image = np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        assert estimate_degradation(image)["noise"] == pytest.approx(sigma, rel=0.25)


def test_blockiness_rises_as_the_quality_of_jpeg_falls(face: Image.Image) -> None:
    values = []
    for quality in (90, 20, 5):
        file = io.BytesIO()
        face.save(file, "jpeg", quality=quality)
        picture = np.array(Image.open(file))[3:, 5:]  # the grid of blocks starts anywhere
        values.append(estimate_degradation(picture)["blockiness"])
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.5


def test_pictures_of_few_pixels() -> None:
    for side in (1, 2, 6):
        assert set(estimate_degradation(np.zeros((side, side, 3), np.uint8))) == {"blur", "blockiness", "noise"}


def test_smoothed_values_are_weighted_with_certainty_and_age() -> None:
    smoother = TrackSmoother(seconds=2.0, full_px=40)
    assert smoother(1, 0.0, 40, 1.0, {"valence": np.array([1.0])})["valence"] == 1.0
    old = math.exp(-0.5)
    second = smoother(1, 1.0, 20, 1.0, {"valence": np.array([0.0])})["valence"]
    assert second == pytest.approx(old * 1.0 / (old + 0.5))
    assert smoother(2, 1.0, 20, 1.0, {"valence": np.array([0.3])})["valence"] == pytest.approx(0.3)  # another person
    certain, unsure = np.array([1.0, 0.0]), np.array([0.5, 0.5])
    smoother(3, 0.0, 40, 1.0, {"emotion": certain})
    assert smoother(3, 0.0, 40, 1.0, {"emotion": unsure})["emotion"][0] > 0.99


def test_a_rate_chooses_the_first_frame_of_each_interval() -> None:
    def chosen(times: list[float], rate: float) -> list[float]:
        choice = FrameRateChoice(rate)
        black = np.zeros((1, 1, 3), np.uint8)
        frames = [VideoFrame(k, time, lambda: black, 1.0, damaged=False) for k, time in enumerate(times)]
        return [frame.seconds for frame in frames if choice(frame)]

    assert chosen([k / 30 for k in range(60)], 10) == pytest.approx([k / 10 for k in range(20)])
    assert chosen([0.0, 0.3, 0.9, 1.0, 1.1, 5.0, 5.4, 6.2], 1) == [0.0, 1.0, 5.0, 6.2]
    assert chosen([0.0, 0.5, 1.0], 100) == [0.0, 0.5, 1.0]
