"""Videos that are turned by 90 or 180 degrees: the turn is found from faces, boxes are turned back."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from blear.contracts import BuildContext
from blear.imaging import Box
from blear.plugin.discovery import load_plugins
from blear.predict.detectors import LocatorDetector
from blear.predict.turn import UprightVideo, find_turn
from blear.video import VideoFrame, read_video
from blear.video.samples import sample_frames


@pytest.fixture(scope="module")
def detector() -> LocatorDetector:
    registered = load_plugins().get("locator", "retinaface")
    return LocatorDetector(lambda: registered.build({"device": "cpu", "min_face": 20}, BuildContext()))


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_boxes_of_turned_frames_are_turned_back(turn: int) -> None:
    image = np.zeros((60, 100, 3), np.uint8)
    image[10:24, 30:70] = 255
    upright = UprightVideo(turn)
    (frame,) = upright.frames([VideoFrame(3, 0.5, lambda: image, 1.0, True)])
    assert (frame.number, frame.seconds, frame.damaged) == (3, 0.5, True)
    assert np.array_equal(frame.image_HWC, np.rot90(image, -turn))
    rows, columns = np.nonzero(frame.image_HWC[..., 0])
    box = Box(columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert upright.box_in_video(box) == Box(30, 10, 40, 14)


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_the_turn_of_real_clips_is_found(real_data: Path, detector: LocatorDetector, turn: int) -> None:
    for name in ("video/grid/bbaf2n.mpg", "video/mead/M003_happy_256.mp4"):
        frames = (np.rot90(frame.image_HWC, turn) for frame in islice(read_video(real_data / name, 20), 3))
        assert find_turn(frames, detector) == turn  # turned counterclockwise; clockwise turns make it upright


def test_the_search_ends_with_the_first_upright_face_and_needs_a_majority(detector: LocatorDetector) -> None:
    grey = np.full((90, 160, 3), 90, np.uint8)
    seen = []

    def frames():
        for _ in range(3):
            seen.append(1)
            yield grey

    assert find_turn(frames(), detector) == 0
    assert len(seen) == 3
    assert find_turn([], detector) == 0


def test_samples_are_frames_spread_over_the_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "grey.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10"})
        stream.width, stream.height = 64, 48
        for number in range(100):
            image = np.full((48, 64, 3), 2 * number + 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    levels = [round(image.mean()) for image in sample_frames(tmp_path / "grey.mp4", 5)]
    assert levels == pytest.approx([20, 60, 100, 140, 180], abs=3)  # key frames at 0, 20, 40, 60, 80
    assert len(list(sample_frames(tmp_path / "grey.mp4", 1))) == 1
