"""Parts of the timeline: frame windows, detectors, locators, trackers, framing, records."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import jsonschema_rs
import numpy as np
import pytest

from blear.contracts import Component, Params
from blear.errors import DataError, PluginError
from blear.imaging import Box, Framing
from blear.plugin.catalog import Catalog, Plugin, RegisteredComponent
from blear.plugin.discovery import load_plugins
from blear.predict.detectors import BoxFileDetector, DetectedFace, LocatorDetector
from blear.predict.locators import find_locator
from blear.predict.records import Record
from blear.predict.trackers import FileTracker, TrackedFace
from blear.predict.video import FrameWindow, frame_windows

GREYS = [20 * k for k in range(12)]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Twelve flat frames at 23.976 frames per second, each of its own grey."""
    path = tmp_path / "flat.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 24000 / 1001, (64, 48))
    for grey in GREYS:
        writer.write(np.full((48, 64, 3), grey, np.uint8))
    writer.release()
    return path


def greys(window: FrameWindow) -> list[int]:
    return [round(float(frame.mean()) / 20) for frame in window.images]


def test_a_window_holds_the_frames_before_and_the_containers_time_stamp(video: Path) -> None:
    seen = list(frame_windows(video, every=5, length=4))
    assert [window.frame for window in seen] == [0, 5, 10]
    assert [greys(window) for window in seen] == [[0, 0, 0, 0], [2, 3, 4, 5], [7, 8, 9, 10]]
    for window in seen:
        assert window.seconds == pytest.approx(window.frame * 1001 / 24000, abs=1e-3)
    assert seen[0].images[0].shape == (48, 64, 3)


def test_a_static_buffer_repeats_the_frame(video: Path) -> None:
    assert [greys(window) for window in frame_windows(video, 5, 4, static=True)] == [[0] * 4, [5] * 4, [10] * 4]
    assert [greys(window) for window in frame_windows(video, 6, 1)] == [[0], [6]]


def test_a_file_that_is_not_a_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        next(frame_windows(tmp_path / "none.mp4", 1, 1))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DataError, match="no frame can be decoded"):
        next(frame_windows(tmp_path / "text.mp4", 1, 1))


def at(seconds: float, frame: int = 0) -> FrameWindow:
    return FrameWindow(frame, seconds, (np.zeros((48, 64, 3), np.uint8),))


def test_boxes_of_a_file_are_1_based_and_zeros_mean_no_face(tmp_path: Path) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text("time,left,top,width,height\n0.00,1,1,10,12\n0.04,0,0,0,0\n0.08,5.5,6,7,8\n0.08,20,6,9,9\n")
    faces = BoxFileDetector(file)([at(0.0), at(0.041), at(0.075)])
    found = [[face.box for face in of_frame] for of_frame in faces]
    assert found == [[Box(0, 0, 10, 12)], [], [Box(4.5, 5, 7, 8), Box(19, 5, 9, 9)]]
    with pytest.raises(DataError, match=r"no row within 0.02 s of the frame at 0.200 s"):
        BoxFileDetector(file)([at(0.2)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time,left\n", "lacks the columns: top, width, height"),
        ("time,left,top,width,height\n", "has no row"),
        ("time,left,top,width,height\n0,1,x,3,4\n", r"boxes.csv:2: 'x' is not a number"),
        (None, "cannot be read"),
    ],
)
def test_broken_boxes_are_refused(tmp_path: Path, text: str | None, words: str) -> None:
    file = tmp_path / "boxes.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError, match=words):
        BoxFileDetector(file)


@pytest.mark.parametrize("name", ["blear.imaging:Nothing", "no_such_module:A", ":"])
def test_a_locator_that_cannot_be_imported_is_refused(name: str) -> None:
    with pytest.raises(PluginError, match=rf"the face locator '{name}' cannot be imported"):
        find_locator(name, load_plugins())


class CornerLocator:
    """Detects a face of 8 x 8 pixels in the corner of each frame."""

    def faces(self, frames_THWC: np.ndarray) -> list[list[TrackedFace]]:
        return [[TrackedFace(Box(0, 0, 8, 8), 0)] for _ in frames_THWC]


def catalog_of(*names: str) -> Catalog:
    """A catalog of locators; a plugin `faces` comes with blear, others with other distributions."""
    found = {}
    for name in names:
        plugin = Plugin(name.split("/")[0], "blear 1.0" if name.startswith("faces/") else "blear-other 1.0", "1.0")
        component = Component(name.split("/")[1], "A locator", Params, lambda params, context, name=name: name)
        found[name] = RegisteredComponent("locator", name, component, plugin)
    return Catalog(tuple({one.plugin for one in found.values()}), {"locator": found})


def test_a_locator_is_named_by_its_full_or_short_name_or_as_module_and_attribute() -> None:
    assert find_locator("faces/mtcnn", load_plugins())().params.min_face == 20
    assert find_locator("mtcnn", load_plugins(), {"min_face": 9})().params.min_face == 9
    assert find_locator("blear_faces.locate:FaceLocator", load_plugins())().max_side == 640
    assert find_locator("retinaface", load_plugins(), {"min_face": 9}, {"min_face": 30})().params.min_face == 30
    with pytest.raises(PluginError, match="parameter 'file' is required"):
        find_locator("faces/yunet", load_plugins())
    with pytest.raises(PluginError, match="there is no parameter 'min_fac'; did you mean 'min_face'"):
        find_locator(None, load_plugins(), chosen={"min_fac": 9})
    with pytest.raises(PluginError, match="called without parameters"):
        find_locator("blear_faces.locate:FaceLocator", load_plugins(), chosen={"min_face": 9})
    with pytest.raises(PluginError, match="there is no locator 'mtcn'"):
        find_locator("mtcn", load_plugins())
    detector = LocatorDetector(find_locator(f"{__name__}:CornerLocator", load_plugins()))
    assert detector([at(0.0), at(0.1)]) == [[DetectedFace(Box(0, 0, 8, 8))]] * 2


def test_the_default_locator_is_that_of_blear_or_the_only_one() -> None:
    assert type(find_locator(None, load_plugins())()).__name__ == "RetinaFaceLocator"
    assert find_locator(None, catalog_of("a/one", "faces/two", "z/three"))() == "faces/two"
    assert find_locator(None, catalog_of("a/one"))() == "a/one"
    with pytest.raises(PluginError, match=r"several face locators are installed: a/one, z/two\n  -> choose one with"):
        find_locator(None, catalog_of("a/one", "z/two"))
    with pytest.raises(PluginError, match="no face locator is installed"):
        find_locator(None, catalog_of())


def person(who: object, left: float, top: float, right: float, bottom: float, swapped: bool = False) -> dict:
    corners = ({"x": left, "y": top}, {"x": right, "y": bottom})
    first, second = reversed(corners) if swapped else corners
    return {"id": who, "topleft": first, "bottomright": second}


def test_each_person_of_a_file_gets_the_first_face_inside_its_box(tmp_path: Path) -> None:
    file = tmp_path / "tracks.json"
    people = [person("3", 0, 0, 40, 40), person("ross", 50, 0, 90, 40, swapped=True), person(9, 0, 50, 5, 60)]
    file.write_text(json.dumps({"5": people}))
    boxes = [Box(60, 5, 10, 10), Box(10, 5, 10, 10), Box(20, 5, 10, 10)]
    faces = [DetectedFace(box) for box in boxes]
    assert FileTracker(file)(at(0.2, 5), faces) == [TrackedFace(boxes[1], 3), TrackedFace(boxes[0], "ross")]
    assert FileTracker(file)(at(0.4, 10), faces) == []


def test_a_folder_of_one_tracker_file_for_each_frame(tmp_path: Path) -> None:
    """As one file of all frames: lists, or objects that hold the list under one key."""
    people = {4: [person(1, 0, 0, 40, 40)], 12: [person(2, 0, 0, 40, 40, swapped=True)]}
    (tmp_path / "ep06_frame_00004.json").write_text(json.dumps(people[4]))
    (tmp_path / "00012.json").write_text(json.dumps({"persons": people[12]}))
    (tmp_path / "._00012.json").write_bytes(b"\0")
    (tmp_path / "all.txt").write_text(json.dumps(people))
    faces, tracker = [DetectedFace(Box(10, 5, 10, 10))], FileTracker(tmp_path)
    for frame in (3, 4, 12):
        window = at(frame / 25, frame)
        assert tracker(window, faces) == FileTracker(tmp_path / "all.txt")(window, faces)
    assert tracker(at(0.5, 12), faces) == [TrackedFace(faces[0].box, 2)]
    for name, text, message in (
        ("4.json", "[]", "second file of frame 4"),
        ("x.json", "[]", "no number of a frame"),
        ("5.json", '[{"id": 1}]', "5.json: cannot be read as tracks"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=message):
            FileTracker(tmp_path)
        (tmp_path / name).unlink()


@pytest.mark.parametrize("text", ["{", "[]", '{"x": []}', '{"1": [{"id": 1}]}'])
def test_broken_tracks_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tracks.json").write_text(text)
    with pytest.raises(DataError, match=r"tracks.json: cannot be read as tracks"):
        FileTracker(tmp_path / "tracks.json")


def test_the_square_of_a_face_is_that_computed_by_hand() -> None:
    # m = 0.5 (20 + 30) = 25; side = int sqrt(45 * 55) = 49; centre (20, 31)
    image = np.full((100, 100, 3), 200, np.uint8)
    small, large = Framing().cut(image, Box(10, 16, 20, 30)), Framing(crop_scale=1.3).cut(image, Box(10, 16, 20, 30))
    assert (small.shape, large.shape) == ((49, 49, 3), (64, 64, 3))
    assert (small[:, :4] == 0).all()  # the square begins at column -4
    assert (small[:, 4:] == 200).all()


RECORD = Record(
    37, 1.54321, TrackedFace(Box(10.4, 20.6, 30, 40), 2), 1, {"anger": 0.2, "happiness": 0.7, "neutral": 0.1}
)
CONSUMER = {
    "type": "object",
    "required": ["type", "class", "seconds", "object"],
    "properties": {
        "type": {"const": "emotion"},
        "class": {"type": "string"},
        "seconds": {"type": "number"},
        "object": {
            "type": "object",
            "oneOf": [{"required": ["id"]}, {"required": ["coordinates"]}],
            "properties": {
                "id": {"type": "string", "pattern": "^person_"},
                "coordinates": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
            },
        },
    },
}


def test_a_record_has_every_published_field() -> None:
    assert json.loads(RECORD.to_json("records", {})) == {
        "type": "emotion",
        "class": "happiness",
        "seconds": 1.543,
        "frames": 37,
        "coordinates": [10, 21, 40, 61],
        "id": 2,
        "object": "1",
        "score": 0.7,
        "probabilities": {"anger": 0.2, "happiness": 0.7, "neutral": 0.1},
    }


def test_consumer_record_satisfies_its_schema() -> None:
    line = json.loads(RECORD.to_json("consumer", {"happiness": "happy"}))
    jsonschema_rs.validate(CONSUMER, line)
    assert line == {
        "type": "emotion",
        "class": "happy",
        "seconds": 1.543,
        "object": {"coordinates": [10, 21, 30, 40]},
        "score": 0.7,
        "id": 2,
    }
    named = Record(37, 1.5, TrackedFace(Box(1, 2, 3, 4), "ross"), 0, {"anger": 1.0})
    line = json.loads(named.to_json("consumer", {}))
    jsonschema_rs.validate(CONSUMER, line)
    assert line["object"] == {"id": "person_ross"}
