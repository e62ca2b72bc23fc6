"""Memory does not grow with the length of a video."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import av
import numpy as np

from blear.imaging import Box, Framing
from blear.models.load import load
from blear.predict.appearance_tracker import AppearanceTracker
from blear.predict.detectors import DetectedFace
from blear.predict.inputs import Input
from blear.predict.predictor import FacePredictor
from blear.predict.run import predict_inputs
from blear.predict.smoothing import TrackSmoother

FRAMES, SHOT, WIDTH, HEIGHT = 240, 24, 640, 360


def test_memory_at_the_end_is_that_of_the_beginning(run: Path, tmp_path: Path) -> None:
    """Each shot has a new person. The frames together are 166 MB."""
    video = tmp_path / "long.avi"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for number in range(FRAMES):
            image = np.full((HEIGHT, WIDTH, 3), 60 + 90 * (number // SHOT % 2), np.uint8)
            image[20:140, 60:120] = (200, 160, 60 + number % 50)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    held: dict[int, tuple[int, int]] = {}

    def detect(windows):
        for window in windows:
            if window.frame in (3 * SHOT, FRAMES - SHOT // 2):
                gc.collect()
                resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
                held[window.frame] = len(gc.get_objects()), resident
        return [[DetectedFace(Box(60, 20, 40, 50), 0.9)] for _ in windows]

    model = load(run / "stages" / "values")
    predictor = FacePredictor(model, detect, AppearanceTracker, Framing(), lambda: lambda frame: True)
    result = predict_inputs(predictor, [Input(video, is_picture=False)], tmp_path / "out.jsonl", {})
    assert result.lines[0] == f"{video}: {FRAMES} faces in {FRAMES} frames"
    (objects_before, bytes_before), (objects, bytes_) = held.values()
    assert objects < objects_before + FRAMES / 2
    assert bytes_ < bytes_before + 40_000_000


def test_averages_of_people_of_long_ago_are_forgotten() -> None:
    smooth = TrackSmoother(1.0, 96.0)
    value = {"valence": np.array([0.5])}
    for person in range(5000):
        smooth(person, person / 2, 96.0, 1.0, value)
    assert len(smooth.state()) <= 1001
    again = smooth(4990, 2500.0, 96.0, 1.0, {"valence": np.array([-0.5])})["valence"]
    expected = TrackSmoother(1.0, 96.0)
    expected(4990, 4990 / 2, 96.0, 1.0, value)
    assert again == expected(4990, 2500.0, 96.0, 1.0, {"valence": np.array([-0.5])})["valence"]
