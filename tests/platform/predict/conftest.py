"""A run of a few training steps and a video of a procedural face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from timeline_run import FPS, FRAMES, JOB, SIDE

from blear.job.reader import read_job
from blear.pipeline.prepare import prepare_data
from blear.pipeline.run import run_job


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder; tests write only below its `timelines`."""
    root = tmp_path_factory.mktemp("timeline")
    (root / "job.yaml").write_text(JOB)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLEAR_STORAGE", str(root))
        job, catalog = read_job(root / "job.yaml")
        prepare_data(job, catalog, workers=1)
        return run_job(job, catalog, runner="local", fresh=False, command="test", profile=None)


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One drawn face at columns 40 to 135, rows 10 to 105 of frames of 180 x 120, at 20 frames per second."""
    from blear.contracts import BuildContext
    from blear_faces.dataset import ProceduralFaces
    from blear_faces.params import ProceduralParams

    params = ProceduralParams(size=SIDE, frames=FRAMES, per_subject=1, subjects={"train": 1, "dev": 1})
    dataset = ProceduralFaces(params, BuildContext())
    clip = next(iter(dataset.samples("train", dataset.parts("train")[0]))).frames
    folder = tmp_path_factory.mktemp("video")
    writer = cv2.VideoWriter(str(folder / "face.avi"), cv2.VideoWriter_fourcc(*"MJPG"), FPS, (180, 120))
    for frame in clip:
        image = np.full((120, 180, 3), 90, np.uint8)
        image[10 : 10 + SIDE, 40 : 40 + SIDE] = frame
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()
    rows = [f"{k / FPS:.6f},41.0,11.0,{SIDE}.0,{SIDE}.0" for k in range(FRAMES)]
    rows[10] = f"{10 / FPS:.6f},0,0,0,0"
    (folder / "boxes.csv").write_text("\n".join(["time,left,top,width,height", *rows]) + "\n")
    return folder / "face.avi"
