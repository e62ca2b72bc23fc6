"""From videos to faces to samples: the command on real videos, and invalid inputs."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from facenet_pytorch import MTCNN
from PIL import Image

from blear.contracts import BuildContext
from blear.errors import DataError
from blear.job.reader import read_job
from blear.plugin.discovery import load_plugins
from blear_dsn.align import template
from blear_dsn.clips import list_name, main, read_frames, videos


def run(*arguments):
    """The command in this process: importing the detector is most of its time."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def found_points(pictures):
    """Five points of the face in each 256x256 picture, float [N, 5, 2]."""
    images = []
    for path in pictures:
        with Image.open(path) as image:
            images.append(image.convert("RGB"))
    assert {image.size for image in images} == {(256, 256)}
    _, _, points = MTCNN().detect(images, landmarks=True)
    return np.stack([five[0] for five in points])


def write_video(path, frames=4, size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, size)
    for n in range(frames):
        writer.write(np.full((size[1], size[0], 3), 60 * n, np.uint8))
    writer.release()


def test_faces_of_real_videos(real_data, tmp_path):
    source, out = tmp_path / "afew", tmp_path / "faces"
    (source / "Val_AFEW" / "Happy").mkdir(parents=True)
    shutil.copyfile(real_data / "video" / "grid" / "bbaf2n.mpg", source / "Val_AFEW" / "Happy" / "000001.mpg")
    write_video(source / "Val_AFEW" / "Angry" / "000002.avi", frames=1)
    done = run(source, out, "--every", "30")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == ["Val_AFEW/Angry/000002: 0 faces", "Val_AFEW/Happy/000001: 3 faces"]
    assert (out / "Val_AFEW.txt").read_text() == "Val_AFEW/Angry/000002 0\nVal_AFEW/Happy/000001 3\n"
    pictures = sorted((out / "Val_AFEW" / "Happy" / "000001").iterdir())
    assert [path.name for path in pictures] == [f"000001-{n:05d}.png" for n in (1, 31, 61)]
    points_N52 = found_points(pictures)  # MTCNN again, on what was written
    assert np.abs(points_N52 - template(256)).max() < 12
    params = {"source": out, "train": None, "dev": "Val_AFEW.txt", "size": 64, "empty": "black"}
    data = load_plugins().get("dataset", "dsn/face_list").build(params, BuildContext())
    found = [sample for part in data.parts("dev") for sample in data.samples("dev", part)]
    assert [(s.video, s.targets["emotion"], s.meta["found"]) for s in found] == [
        ("Val_AFEW/Angry/000002", 0, 0),
        *[("Val_AFEW/Happy/000001", 3, 1)] * 3,
    ]
    skin = found[1].frames[0, 24:40, 24:40].reshape(-1, 3).mean(axis=0)  # the middle of the crop is a face
    assert skin[0] > skin[2]
    pictures[0].unlink()
    assert "Val_AFEW/Happy/000001: 2 faces" in run(source, out, "--every", "30").stdout  # existing folders are skipped
    assert run(source, tmp_path / "boxes", "--every", "60", "--no-align").exit_code == 0
    boxes = list((tmp_path / "boxes" / "Val_AFEW" / "Happy" / "000001").iterdir())
    assert [cv2.imread(str(path)).shape for path in boxes] == [(400, 400, 3)] * 2


def test_frames_are_1024_wide_and_numbered(tmp_path):
    write_video(tmp_path / "clip.avi", frames=4, size=(64, 48))
    found = list(read_frames(tmp_path / "clip.avi", 2))
    assert [number for number, _ in found] == [1, 3]
    assert {frame.shape for _, frame in found} == {(768, 1024, 3)}
    assert [round(frame.mean()) for _, frame in found] == pytest.approx([0, 120], abs=3)


def test_labels_come_from_the_folders(tmp_path):
    for name in ("Neutral/b.avi", "Sad/a.AVI", "Surprise/deep/Fear/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [(path.name, label) for path, label in videos(tmp_path)] == [("b.avi", 4), ("a.AVI", 5), ("c.mp4", 2)]


def test_videos_in_linked_folders_are_found(tmp_path):
    for name in ("disk/Sad/a.avi", "afew/Happy/b.avi"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "afew" / "Sad").symlink_to(tmp_path / "disk" / "Sad")
    (tmp_path / "disk" / "Sad" / "loop").symlink_to(tmp_path / "afew")
    assert [(path.name, label) for path, label in videos(tmp_path / "afew")] == [("b.avi", 3), ("a.avi", 5)]


def test_invalid_inputs_are_rejected(tmp_path):
    with pytest.raises(DataError, match="holds no video"):
        videos(tmp_path)
    (tmp_path / "Joy").mkdir()
    (tmp_path / "Joy" / "a.avi").write_text("not a video")
    with pytest.raises(DataError, match="'Joy' is no emotion") as caught:
        videos(tmp_path)
    assert caught.value.where == str(tmp_path / "Joy")
    (tmp_path / "Joy").rename(tmp_path / "Happy")
    done = run(tmp_path, tmp_path / "out")
    assert done.exit_code == 2
    assert "a.avi: no frame can be decoded" in done.stderr
    assert isinstance(done.exception, SystemExit)
    assert list((tmp_path / "out").rglob("*")) == [tmp_path / "out" / "Happy"]


def test_one_list_for_each_split(tmp_path):
    for name in ("Train_AFEW/Sad/a.avi", "Val_AFEW/Happy/b.avi", "Val_AFEW/Fear/c.avi"):
        write_video(tmp_path / "in" / name, frames=1)
    assert run(tmp_path / "in", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "Train_AFEW.txt").read_text() == "Train_AFEW/Sad/a 5\n"
    assert (tmp_path / "out" / "Val_AFEW.txt").read_text() == "Val_AFEW/Fear/c 2\nVal_AFEW/Happy/b 3\n"
    assert run(tmp_path / "in" / "Val_AFEW", tmp_path / "flat").exit_code == 0
    assert (tmp_path / "flat" / "Val_AFEW.txt").read_text() == "Fear/c 2\nHappy/b 3\n"


@pytest.mark.parametrize(
    ("source", "files", "lists"),
    [
        (".", ["Train/Sad/a.avi", "Val/Fear/b.avi", "Test/c.avi"], {"Train_AFEW": 5, "Val_AFEW": 2, "Test_AFEW": None}),
        (".", ["Train_AFEW_all/Sad/a.avi", "Test_AFEW/c.avi"], {"Train_AFEW": 5, "Test_AFEW": None}),
        ("Test", ["c.avi"], {"Test_AFEW": None}),
        ("Val", ["Happy/b.avi"], {"Val_AFEW": 3}),
        ("mine", ["c.avi"], {"clips": None}),
        ("mine", ["Happy/b.avi"], {"clips": 3}),
        ("mine", ["film/Happy/b.avi"], {"film": 3}),
    ],
)
def test_lists_have_the_names_of_the_jobs_and_clips_may_have_no_label(tmp_path, source, files, lists):
    root = tmp_path / source
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert {list_name(root, path): label for path, label in videos(root)} == lists
    if source == ".":
        expected = {"Train_AFEW.txt", "Val_AFEW.txt"}
        jobs = {value for job in ("vgg", "resnet50", "densenet121", "fusion") for value in named_lists(f"dsn_{job}")}
        assert jobs == expected


def named_lists(job):
    """The lists that a job reads."""
    clips = read_job(Path(__file__).parents[2] / "jobs" / f"{job}.yaml")[0].data["clips"].params
    return clips["train"], clips["dev"]


def test_rows_of_clips_without_labels_are_folders(tmp_path):
    write_video(tmp_path / "in" / "Test" / "000001.avi", frames=1)
    assert run(tmp_path / "in" / "Test", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "Test_AFEW.txt").read_text() == "000001\n"
    assert list((tmp_path / "out" / "000001").iterdir()) == []
