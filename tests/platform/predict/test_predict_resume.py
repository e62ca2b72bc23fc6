"""A call that was interrupted inside a video: its output is that of a call that ran through."""

from __future__ import annotations

import json
import os
from pathlib import Path

import av
import numpy as np
import pytest

from blear.imaging import Box, Framing
from blear.models.load import load
from blear.predict.appearance_tracker import AppearanceTracker
from blear.predict.detectors import DetectedFace
from blear.predict.inputs import Input
from blear.predict.predictor import FacePredictor
from blear.predict.run import PredictionResult, predict_inputs

FRAMES, CUT = 90, 40
COLOURS = ((200, 60, 50), (50, 70, 190))


def centres(number: int) -> tuple[float, float]:
    """Columns of two people who pass each other; after the cut, they stand still."""
    return (60 + 5 * number, 260 - 5 * number) if number < CUT else (100, 220)


def faces(number: int) -> list[DetectedFace]:
    points = np.full((5, 2), number, np.float32)
    return [DetectedFace(Box(x - 12, 40, 24, 30), 0.9, points) for x in centres(number) if number != 50]


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crossing") / "two.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 120, "yuvj420p"
        for number in range(FRAMES):
            image = np.full((120, 320, 3), 110 if number < CUT else 20, np.uint8)
            for x, colour in zip(centres(number), COLOURS, strict=True):
                image[25:110, max(0, int(x) - 20) : int(x) + 20] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    return path


class Prediction:
    """Calls of `predict_inputs` for one output, which are interrupted in the detector."""

    def __init__(self, run: Path, video: Path, out: Path, stage: str = "clips") -> None:
        self.model, self.video, self.out = load(run / "stages" / stage), video, out
        self.detected: list[int] = []

    def __call__(self, interrupt_at: int = FRAMES, save_every_s: float = 0.0) -> PredictionResult | None:
        """Predicts every second frame; interrupted when the detector sees a frame from `interrupt_at` on."""
        self.detected = []

        def detect(windows):
            if windows[-1].frame >= interrupt_at:
                raise KeyboardInterrupt
            self.detected += [window.frame for window in windows]
            return [faces(window.frame) for window in windows]

        chooser = lambda: lambda frame: frame.number % 2 == 0  # noqa: E731
        predictor = FacePredictor(self.model, detect, AppearanceTracker, Framing(), chooser, spacing=6)
        inputs = [Input(self.video, is_picture=False)]
        try:
            return predict_inputs(predictor, inputs, self.out, {"every": 2}, save_every_s=save_every_s)
        except KeyboardInterrupt:
            return None


@pytest.mark.parametrize("stage", ["clips", "values"])
def test_a_video_continues_without_loss_or_repeated_rows(run: Path, crossing: Path, tmp_path: Path, stage: str) -> None:
    whole = Prediction(run, crossing, tmp_path / "whole.jsonl", stage)
    expected = whole()
    assert {record["id"] for record in map(json.loads, whole.out.read_text().splitlines())} >= {1, 2, 3, 4}
    resumed = Prediction(run, crossing, tmp_path / "resumed.jsonl", stage)
    assert resumed(interrupt_at=33) is None
    assert resumed(interrupt_at=70) is None
    assert min(resumed.detected) >= 30  # the frames before are not detected again
    result = resumed()
    assert min(resumed.detected) > 60
    assert resumed.out.read_bytes() == whole.out.read_bytes()
    assert result.lines == expected.lines
    facts = [json.loads(one.out.with_name(f"{one.out.name}.meta.json").read_text()) for one in (whole, resumed)]
    assert facts[0] == facts[1]
    assert not list(tmp_path.glob(".*"))


def test_a_state_that_does_not_fit_is_not_used(
    run: Path, crossing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "two.avi"
    video.write_bytes(crossing.read_bytes())
    whole = Prediction(run, video, tmp_path / "whole.jsonl")
    whole()
    for change in ("nothing", "time", "journal", "state"):
        resumed = Prediction(run, video, tmp_path / f"{change}.jsonl")
        resumed(interrupt_at=40)
        journal, state = (tmp_path / f".{change}.jsonl.{kind}" for kind in ("partial", "state"))
        if change == "time":
            os.utime(video, (1, 1))
        elif change == "journal":
            journal.write_bytes(journal.read_bytes()[:500])
        elif change == "state":
            state.write_text(state.read_text()[:-20])
        else:
            journal.write_bytes(journal.read_bytes() + b'{"input": "half of a r')  # killed while it wrote
        resumed()
        assert (min(resumed.detected) > 0) == (change == "nothing")
        assert (f"{video}: continues at 1.2 s" in capsys.readouterr().err) == (change == "nothing")
        assert resumed.out.read_bytes() == whole.out.read_bytes()
