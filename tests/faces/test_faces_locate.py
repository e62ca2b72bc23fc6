"""The MTCNN locator on real photographs and videos."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from blear.errors import DataError, PluginError
from blear.video import read_video
from blear_faces.locate import FaceLocator, locate_video, write_boxes

DATA = Path(os.environ.get("BLEAR_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
needs_data = pytest.mark.skipif(not (DATA / "photos").is_dir(), reason=f"no real data at {DATA} (set BLEAR_DATA)")


@pytest.fixture(scope="module")
def locator():
    return FaceLocator("cpu")


def photo(name):
    return np.ascontiguousarray(cv2.imread(str(DATA / "photos" / name))[..., ::-1])


@needs_data
@pytest.mark.parametrize(
    ("name", "count"), [("multi_face.jpg", 5), ("multi_face_2.jpg", 6), ("single_face.jpg", 1), ("no_face.jpg", 0)]
)
def test_every_face_of_a_photo_is_detected(locator, name, count):
    image = photo(name)
    (faces,) = locator.faces(image[None])
    assert len(faces) == count
    areas = [face.box.width * face.box.height for face in faces]
    assert areas == sorted(areas, reverse=True)
    for face in faces:
        assert 0.9 <= face.probability <= 1
        x, y = face.points_52.T
        assert x[0] < x[1]  # the left eye, as seen, first
        assert y[2] > y[:2].min()  # the nose lies below an eye
        assert (face.box.left <= x).all()
        assert (x <= face.box.left + face.box.width).all()


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (19, 300), (20, 20)])
def test_frames_without_room_for_a_face_have_none(locator, shape):
    assert locator.faces(np.zeros((2, *shape, 3), np.uint8)) == [[], []]


def test_devices_that_are_not_there_are_refused():
    with pytest.raises(PluginError, match="there is no device 'gpu'"):
        FaceLocator("gpu")


@needs_data
def test_boxes_of_shrunk_frames_are_in_pixels_of_the_original(locator):
    image = photo("single_face.jpg")
    large = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    (small_face,), (large_face,) = locator.locate(image[None]), locator.locate(large[None])
    assert large_face.box.width == pytest.approx(3 * small_face.box.width, rel=0.05)
    assert large_face.box.left == pytest.approx(3 * small_face.box.left, abs=15)
    assert np.abs(large_face.points_52 - 3 * small_face.points_52).max() < 0.05 * large_face.box.width


@needs_data
def test_a_batch_gives_none_where_there_is_no_face(locator):
    image = photo("single_face.jpg")
    found = locator.locate(np.stack([image, np.zeros_like(image), image]))
    assert found[1] is None
    assert found[0].box == found[2].box


def test_frames_of_another_dtype_are_refused(locator):
    with pytest.raises(ValueError, match="uint8"):
        locator.faces(np.zeros((1, 8, 8, 3), np.float32))
    assert locator.faces(np.zeros((0, 64, 64, 3), np.uint8)) == []


@needs_data
def test_the_command_writes_one_row_for_each_frame(tmp_path, locator):
    out = tmp_path / "boxes.csv"
    video = DATA / "video/misc/face_noface.mov"
    command = [
        sys.executable,
        "-m",
        "blear_faces.locate",
        str(video),
        "--out",
        str(out),
        "--every",
        "12",
        "--device",
        "cpu",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["boxes.csv"]
    lines = out.read_text().splitlines()
    assert lines[0] == "time,left,top,width,height"
    table = np.loadtxt(lines[1:], delimiter=",")
    times = [frame.seconds for frame in read_video(video, 12)]
    assert np.abs(table[:, 0] - times).max() < 1e-6
    assert (np.diff(table[:, 0]) > 0).all()
    seen = table[:, 3] > 0
    assert 0 < seen.sum() < len(table)  # the face leaves
    assert (table[~seen, 1:] == 0).all()
    k = int(np.flatnonzero(seen)[0])
    frame = [frame.image_HWC for frame in read_video(video, 12)][k]
    box = locator.locate(frame[None])[0].box
    assert table[k, 1:] == pytest.approx([box.left + 1, box.top + 1, box.width, box.height], abs=0.02)


@needs_data
def test_the_command_writes_no_file_without_a_face(tmp_path):
    out = tmp_path / "boxes.csv"
    video = DATA / "video/misc/no_face.mp4"
    command = [
        sys.executable,
        "-m",
        "blear_faces.locate",
        str(video),
        "--out",
        str(out),
        "--every",
        "24",
        "--device",
        "cpu",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 2
    assert "no_face.mp4" in done.stderr
    assert "no face in any of 4 frames" in done.stderr
    assert "->" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_a_video_is_refused(tmp_path, locator):
    path = tmp_path / "notes.mp4"
    path.write_text("not a video\n" * 100)
    with pytest.raises(DataError, match="no frame can be decoded") as caught:
        locate_video(path, locator)
    assert caught.value.where == str(path)
    with pytest.raises(DataError, match="no such file"):
        locate_video(tmp_path / "absent.mp4", locator)


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot be written"):
        write_boxes(np.zeros((1, 5)), tmp_path / "taken" / "boxes.csv")


def test_only_a_table_of_boxes_is_replaced(tmp_path):
    out = tmp_path / "clip.csv"
    for rows in (1, 2):
        write_boxes(np.zeros((rows, 5)), out)
        assert len(out.read_text().splitlines()) == rows + 1
    out.write_text("time,valence\n0,0.5\n")
    with pytest.raises(DataError, match="is a file that is no table of boxes"):
        write_boxes(np.zeros((1, 5)), out)
    assert out.read_text() == "time,valence\n0,0.5\n"
