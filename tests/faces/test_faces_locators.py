"""All locators: real photographs, sizes in the frame's own pixels, tiles, tables of boxes, the file of YuNet."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from yunet_file import write_yunet

from blear.contracts import BuildContext, Locator
from blear.errors import DataError, PluginError
from blear.imaging import Box
from blear.plugin.discovery import load_plugins
from blear.predict.detectors import LocatorDetector
from blear.predict.video import FrameWindow
from blear_faces.boxes import BoxesLocator
from blear_faces.dataset import ProceduralFaces
from blear_faces.locator_params import BoxesParams, YuNetParams
from blear_faces.params import ProceduralParams
from blear_faces.yunet import YuNetLocator

DATA = Path(os.environ.get("BLEAR_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
needs_data = pytest.mark.skipif(not (DATA / "photos").is_dir(), reason=f"no real data at {DATA} (set BLEAR_DATA)")
NETWORKS = ("retinaface", "centerface", "mtcnn")
PLACES = [(40, 60), (300, 90), (520, 240)]  # left and top of the drawn pictures
SIDE = 96


def build(name: str, **params: object) -> Locator:
    return load_plugins().get("locator", name).build(params, BuildContext())


@pytest.fixture(scope="module")
def group() -> np.ndarray:
    """Three drawn faces of 96 pixels, with 0.70 x 0.92 of their sides, in a frame of 640 x 360 pixels."""
    params = ProceduralParams(size=SIDE, per_subject=1, subjects={"train": 3, "dev": 1})
    dataset = ProceduralFaces(params, BuildContext())
    frame = np.full((360, 640, 3), 110, np.uint8)
    (part,) = dataset.parts("train")
    for (left, top), sample in zip(PLACES, dataset.samples("train", part), strict=True):
        frame[top : top + SIDE, left : left + SIDE] = sample.frames[0]
    return frame


def centres(faces: list) -> list[tuple[float, float]]:
    return sorted((face.box.left + face.box.width / 2, face.box.top + face.box.height / 2) for face in faces)


def assert_at_places(faces: list, ratio: float = 1.0) -> None:
    expected = [((left + SIDE / 2) * ratio, (top + SIDE / 2) * ratio) for left, top in PLACES]
    found = np.array(centres(faces))
    assert found.shape == (3, 2)
    assert np.abs(found - np.array(expected)).max() < 0.12 * SIDE * ratio
    for face in faces:
        assert face.box.height == pytest.approx(0.92 * SIDE * ratio, rel=0.3)


@needs_data
@pytest.mark.parametrize("name", ["centerface", "retinaface"])  # mtcnn: test_faces_locate.py
def test_faces_of_photographs_are_found_with_landmarks(name: str) -> None:
    locator = build(name, min_face=20)
    for photo, count in (("multi_face", 5), ("multi_face_2", 6), ("single_face", 1), ("no_face", 0)):
        image = np.ascontiguousarray(cv2.imread(str(DATA / "photos" / f"{photo}.jpg"))[..., ::-1])
        (faces,) = locator.faces(image[None])
        assert len(faces) == count
        areas = [face.box.width * face.box.height for face in faces]
        assert areas == sorted(areas, reverse=True)
        for face in faces:
            x, y = face.points_52.T
            assert x[0] < x[2] < x[1]  # left eye, nose, right eye
            assert y[:2].max() < y[2] < y[3:].min()  # eyes, nose, mouth
            assert face.box.left < x.min() <= x.max() < face.box.left + face.box.width


@pytest.mark.parametrize("name", NETWORKS)
def test_drawn_faces_stand_at_their_places_whatever_the_size_of_the_frame(name: str, group: np.ndarray) -> None:
    locator = build(name, min_face=20)
    assert_at_places(locator.faces(group[None])[0])
    small = cv2.resize(group, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)  # faces of 17 x 22 pixels
    assert_at_places(build(name, min_face=10).faces(small[None])[0], 0.25)
    batch = np.stack([np.full_like(group, 110), group])
    assert [len(faces) for faces in locator.faces(batch)] == [0, 3]


@pytest.mark.parametrize("name", NETWORKS)
def test_min_face_counts_pixels_of_the_frame(name: str, group: np.ndarray) -> None:
    locator = build(name, min_face=40)
    large = cv2.resize(group, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    assert locator.scale(360, 640) == locator.network_face / 40
    assert locator.scale(1080, 1920) == min(locator.network_face / 40, 1)
    assert_at_places(locator.faces(large[None])[0], 2)


@pytest.mark.parametrize("name", ["retinaface", "centerface"])
def test_tiles_find_the_faces_of_the_whole_frame_once(name: str, group: np.ndarray) -> None:
    whole = build(name, min_face=20).faces(group[None])[0]
    large = cv2.resize(group, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    tiled = build(name, min_face=20, tile=512)
    start = 40  # moves the faces over the borders of the tiles
    frame = np.full((800, 1340, 3), 110, np.uint8)
    frame[start : start + 720, start : start + 1280] = large
    (faces,) = tiled.faces(frame[None])
    assert np.array(centres(faces)) - start == pytest.approx(2 * np.array(centres(whole)), abs=12)
    (found,) = build(name, min_face=40, batch_pixels=80_000).faces(large[None])  # tiles of 282 pixels
    assert_at_places(found, 2)


def test_yunet_reads_the_file_that_is_given(tmp_path: Path) -> None:
    file = write_yunet(tmp_path / "yunet.onnx")
    frame = np.zeros((120, 200, 3), np.uint8)
    frame[16:24, 40:48] = 255
    frame[80:88, 160:168] = 255
    locator = YuNetLocator(YuNetParams(file=file, min_face=12))  # scale 1
    (faces,) = locator.faces(frame[None])
    boxes = sorted((round(f.box.left), round(f.box.top), round(f.box.width), round(f.box.height)) for f in faces)
    assert boxes == [(32, 8, 24, 24), (152, 72, 24, 24)]
    assert all(face.probability > 0.99 for face in faces)
    assert faces[0].points_52 == pytest.approx(np.full((5, 2), (faces[0].box.left + 12, faces[0].box.top + 12)))
    half = YuNetLocator(YuNetParams(file=file, min_face=24))  # scale 1/2: cells of 8 pixels are 16 of the frame
    frame[:] = 0
    frame[32:48, 80:96] = 255
    ((face,),) = half.faces(frame[None])
    assert face.box == Box(64, 16, 48, 48)
    assert half.faces(np.zeros((2, 120, 200, 3), np.uint8)) == [[], []]
    with pytest.raises(PluginError, match="no such file"):
        YuNetLocator(YuNetParams(file=tmp_path / "absent.onnx"))
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(PluginError, match="OpenCV cannot read it"):
        YuNetLocator(YuNetParams(file=tmp_path / "text.onnx"))


TABLE = pd.DataFrame(
    {"frame": [0, 0, 5, 9], "left": [4, 30, 6, 0], "top": [8, 31, 9, 0], "width": [10, 20, 12, 0]}
).assign(height=lambda table: table["width"] + 2, probability=[0.9, 0.4, 0.8, 0.0])


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_boxes_of_a_table(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"boxes.{suffix}"
    if suffix == "parquet":
        TABLE.to_parquet(file)
    elif suffix == "jsonl":
        TABLE.to_json(file, orient="records", lines=True)
    else:
        TABLE.to_csv(file, index=False, sep="\t" if suffix == "tsv" else ",")
    found = BoxesLocator(BoxesParams(file=file)).faces_at([0, 1, 5, 9], [0.0] * 4)
    first = [Box(30, 31, 20, 22), Box(4, 8, 10, 12)]  # the largest first
    assert [[face.box for face in faces] for faces in found] == [first, [], [Box(6, 9, 12, 14)], []]
    assert [face.probability for face in found[0]] == [0.4, 0.9]
    chosen = BoxesLocator(BoxesParams(file=file, min_probability=0.5, first_pixel=1)).faces_at([0], [0.0])
    assert [face.box for face in chosen[0]] == [Box(3, 7, 10, 12)]
    assert BoxesLocator(BoxesParams(file=file, min_face=11)).faces_at([0], [0.0])[0][0].box == first[0]
    detector = LocatorDetector(lambda: build("boxes", file=str(file)))
    image = np.zeros((60, 80, 3), np.uint8)
    shown = detector([FrameWindow(frame, frame / 25, (image,)) for frame in (5, 7, 0)])
    assert [[face.box for face in faces] for faces in shown] == [[Box(6, 9, 12, 14)], [], first]
    assert shown[2][0].score == 0.4


def test_boxes_by_time_and_corners_and_faulty_tables(tmp_path: Path) -> None:
    file = tmp_path / "boxes.jsonl"  # as `blear predict` writes it
    file.write_text('{"seconds": 0.2, "coordinates": [10, 12, 40, 52], "detection": 0.7}\n')
    locator = BoxesLocator(BoxesParams(file=file))
    assert [len(faces) for faces in locator.faces_at([9, 9, 9], [0.0, 0.19, 0.25])] == [0, 1, 0]
    assert locator.faces_at([0], [0.2])[0][0].box == Box(10, 12, 30, 40)
    with pytest.raises(ValueError, match="add a column `frame`"):
        locator.faces(np.zeros((2, 8, 8, 3), np.uint8))
    for text, what in (
        ("time,left,top\n0,1,2\n", "lacks columns; it has: time, left, top"),
        ("time,left,top,width,height\n0,1,2,x,4\n", "row 1 has a value that is not a number"),
    ):
        (tmp_path / "wrong.csv").write_text(text)
        with pytest.raises(DataError, match=what):
            BoxesLocator(BoxesParams(file=tmp_path / "wrong.csv"))
    with pytest.raises(DataError, match="no such table"):
        BoxesLocator(BoxesParams(file=tmp_path / "absent.csv"))
    (tmp_path / "boxes.xls").write_text("")
    with pytest.raises(DataError, match=r"cannot end with '\.xls'"):
        BoxesLocator(BoxesParams(file=tmp_path / "boxes.xls"))
