"""From a real video to faces: the AVEC 2016 reader reads the boxes written by the locator's command."""

import shutil
import subprocess
import sys

import numpy as np
from vlqr_avec_tree import ARFF_HEADER, write_text

from blear.contracts import BuildContext
from blear.plugin.discovery import load_plugins

FRAMES = 20


def test_located_boxes_feed_the_reader(real_data, tmp_path):
    root = tmp_path / "avec"
    for name, clip in (("train_1", "bbaf2n"), ("dev_1", "lbax4n")):
        video = root / "recordings_video" / f"{name}.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(real_data / "video" / "grid" / f"{clip}.mpg", video)
        command = [sys.executable, "-m", "blear_faces.locate", str(video), "--out", str(root / "bbox" / f"{name}.csv")]
        subprocess.run(command, check=True, capture_output=True)
        times = [f"{k};{k / 25:.2f}" for k in range(FRAMES)]
        write_text(root / "recordings_video_frame_time" / f"{name}.csv", ["frame;time", *times])
        gold = [f"'{name}',{k / 25:.2f},{k / 100}" for k in range(FRAMES)]
        write_text(root / "ratings_gold_standard" / "valence" / f"{name}.arff", [*ARFF_HEADER, *gold])
    params = {"source": str(root), "size": 48, "min_box": 40}
    dataset = load_plugins().get("dataset", "vlqr/avec2016").build(params, BuildContext())
    samples = [sample for split in dataset.splits for sample in dataset.samples(split, f"{split}_1")]
    assert len(samples) == 2 * FRAMES
    widths = np.array([sample.meta["face_px"] for sample in samples])
    assert (widths > 60).all()  # a face fills about a third of these 360 x 288 frames
    assert (widths < 200).all()
    faces = np.stack([sample.frames[0, ..., 0] for sample in samples]).astype(float)
    one, other = faces[:FRAMES].mean(axis=0), faces[FRAMES:].mean(axis=0)
    # a crop that follows a sitting speaker hardly changes from frame to frame; two people differ
    assert np.abs(np.diff(faces[:FRAMES], axis=0)).mean() < 0.5 * np.abs(one - other).mean()
