"""A video that is turned by 90 degrees: faces are predicted upright, boxes are in pixels of the video."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from blear.contracts import BuildContext
from blear.imaging import Framing
from blear.models.load import load
from blear.plugin.discovery import load_plugins
from blear.predict.appearance_tracker import AppearanceTracker
from blear.predict.detectors import LocatorDetector
from blear.predict.inputs import Input
from blear.predict.predictor import FacePredictor
from blear.predict.trackers import overlap
from blear.predict.turn import turn_back
from blear.video import read_video


def test_a_turned_real_clip(run: Path, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    upright = [frame.image_HWC for frame in islice(read_video(real_data / "video/grid/bbaf2n.mpg"), 6)]
    turned = tmp_path / "turned.mkv"
    with av.open(str(turned), "w") as container:
        stream = container.add_stream("libx264rgb", rate=25, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = upright[0].shape[1], upright[0].shape[0], "rgb24"
        for image in upright:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.rot90(image)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    registered = load_plugins().get("locator", "retinaface")
    detector = LocatorDetector(lambda: registered.build({"device": "cpu", "min_face": 24}, BuildContext()))
    model = load(run / "stages" / "values")
    predictor = FacePredictor(
        model, detector, AppearanceTracker, Framing(), lambda: lambda frame: frame.number % 2 == 0
    )
    rows = list(predictor.predict(Input(turned, is_picture=False)))
    assert [row.frame for row in rows] == [0, 2, 4]
    assert "no face is upright; the frames are turned by 90 degrees clockwise" in capsys.readouterr().err
    for row, faces in zip(
        rows, registered.build({"min_face": 24}, BuildContext()).faces(np.stack(upright[::2])), strict=True
    ):
        height, width = upright[0].shape[1], upright[0].shape[0]
        assert overlap(turn_back(faces[0].box, 1, height, width), row.box) > 0.9
        assert row.box.left + row.box.width < width
