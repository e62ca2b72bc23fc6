"""Prediction cuts faces as the datasets did: positions in both crops agree within 2 % of the side."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timeline_run import SIDE

from blear.contracts import BuildContext
from blear.imaging import Box, Framing
from blear.imaging import crop as crop_box
from blear.models.images import resize_face
from blear.models.load import load
from blear.predict.model import open_stage
from blear_dsn.align import align, template_points
from blear_dsn.data_params import RafDbParams
from blear_dsn.face_crops import crop_face as crop_dsn
from blear_dsn.raf_db import _framing as framing_of_raf_db
from blear_faces.dataset import ProceduralFaces
from blear_faces.locator_params import RetinaFaceParams
from blear_faces.params import ProceduralParams
from blear_faces.retinaface.locator import RetinaFaceLocator
from blear_fer.datasets.afew_faces import with_aspect
from blear_fer.datasets.fer2013 import Fer2013
from blear_fer.datasets.ferplus import Ferplus
from blear_vtt.datasets.crops import crop_face as crop_vtt
from blear_vtt.datasets.params import StillParams

BOX = Box(70.3, 62.8, 60.4, 81.2)
POINTS = np.array([[84.0, 92.0], [117.0, 95.0], [99.0, 110.0], [86.0, 124.0], [112.0, 127.0]])


@pytest.fixture(scope="module")
def places() -> np.ndarray:
    """A picture of 200 x 220 pixels whose first two channels are column and row."""
    y, x = np.mgrid[:200, :220]
    return np.stack([x, y, np.full_like(x, 128)], axis=-1).astype(np.uint8)


def assert_same_places(cut_HWC: np.ndarray, trained_HWC: np.ndarray, side: float) -> None:
    shown = resize_face(cut_HWC, *trained_HWC.shape[:2]).astype(float)
    inside = (shown[..., 2] > 120) & (trained_HWC[..., 2] > 120)
    assert inside.mean() > 0.8
    assert np.abs(shown - trained_HWC)[inside].max() <= 0.02 * side


@pytest.mark.parametrize("size", [100, 224])
def test_raf_db_boxes_and_landmarks(places: np.ndarray, size: int) -> None:
    framing = framing_of_raf_db(RafDbParams(source=Path(), face="box", size=size))
    sides = np.array([BOX.left, BOX.top, BOX.left + BOX.width, BOX.top + BOX.height])
    assert framing is not None
    assert_same_places(framing.cut(places, BOX), crop_dsn(places, sides, size, framing.margin), 160)
    aligned = framing_of_raf_db(RafDbParams(source=Path(), face="five_points", size=size))
    assert aligned == Framing("landmarks", points=template_points(), size=size)
    assert np.array_equal(aligned.cut(places, BOX, POINTS), align(places, POINTS, size))
    with pytest.raises(ValueError, match="five landmarks"):
        aligned.cut(places, BOX)
    assert framing_of_raf_db(RafDbParams(source=Path(), face="aligned", size=size)) is None


@pytest.mark.parametrize(("margin", "room"), [(0.5, 1.0), (0.3, 1.3), (0.0, 1.0)])
def test_squares_of_vtt(places: np.ndarray, margin: float, room: float) -> None:
    params = StillParams(margin=margin, room=room, size=96)
    framing = params.framing
    assert framing is not None
    cut = framing.cut(places, BOX)
    assert np.array_equal(resize_face(cut, params.pixels, params.pixels), crop_vtt(places, BOX, params, "black", ""))
    assert StillParams(legacy_square=True).framing is None


def test_boxes_of_afew_avec_and_tables(places: np.ndarray) -> None:
    afew = Framing("box", margin=0.2, unit="sides", aspect=1.25)
    assert np.array_equal(afew.cut(places, BOX), crop_box(places, with_aspect(BOX.grown(0.2), 1.25)))
    avec = Framing("box", margin=0.0, unit="sides", inside=True)
    outside = Box(-5.0, 3.0, 40.0, 50.0)
    assert np.array_equal(avec.cut(places, outside), crop_box(places, outside, pad="clip"))
    table = Framing("box", margin=0.1, unit="sides", aspect=1.0)
    assert np.array_equal(table.cut(places, BOX), crop_box(places, BOX, margin=0.1, square=True))


def test_drawn_faces_are_cut_as_they_were_drawn() -> None:
    params = ProceduralParams(size=96, per_subject=1, subjects={"train": 12, "dev": 1})
    dataset = ProceduralFaces(params, BuildContext())
    drawn = [sample.frames[0] for part in dataset.parts("train") for sample in dataset.samples("train", part)]
    frames = np.full((len(drawn), 192, 192, 3), 90, np.uint8)
    frames[:, 48:144, 48:144] = drawn
    locator = RetinaFaceLocator(RetinaFaceParams(device="cpu"))
    boxes = [faces[0].box for faces in locator.faces(frames) if faces]
    assert len(boxes) >= 10
    squares = [dataset.framing.cut(frames[0], box).shape[0] for box in boxes]
    centres = np.array([(box.left + box.width / 2, box.top + box.height / 2) for box in boxes]) - 96
    assert np.mean(squares) == pytest.approx(96, rel=0.02)
    assert np.abs(centres.mean(axis=0)).max() <= 0.02 * 96


def test_pictures_of_fer2013_are_the_squares_of_their_faces(real_data: Path) -> None:
    pictures = []
    with zipfile.ZipFile(real_data / "fer2013" / "faces.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        for name in names[:: len(names) // 300][:300]:
            doubled = (
                Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((96, 96), Image.Resampling.BICUBIC)
            )
            pictures.append(np.pad(np.array(doubled), ((48, 48), (48, 48), (0, 0)), constant_values=128))
    locator = RetinaFaceLocator(RetinaFaceParams(device="cpu", min_face=20))
    boxes = [faces[0].box for faces in locator.faces(np.stack(pictures)) if faces]
    assert len(boxes) > 250
    sides = [Fer2013.framing.cut(pictures[0], box).shape[0] for box in boxes]
    centres = np.array([(box.left + box.width / 2, box.top + box.height / 2) for box in boxes]) - 96
    assert Ferplus.framing == Fer2013.framing
    assert np.median(sides) == pytest.approx(96, rel=0.02)
    assert np.abs(np.median(centres, axis=0)).max() <= 0.02 * 96


def test_the_framing_is_stored_with_shards_stages_and_models(run: Path, tmp_path: Path) -> None:
    expected = ProceduralFaces(ProceduralParams(subjects={"train": 1, "dev": 1}), BuildContext()).framing
    (shards,) = (run.parents[1] / "shards").rglob("dataset.json")
    assert Framing(**json.loads(shards.read_text())["framing"] | {"points": ()}) == expected
    assert open_stage(run, "clips", None).framing == expected
    model = load(run / "stages" / "clips")
    assert model.framing is not None
    assert (
        model.framing.cut(np.zeros((SIDE, SIDE, 3), np.uint8), Box(20, 20, 30, 40)).shape
        == expected.cut(np.zeros((SIDE, SIDE, 3), np.uint8), Box(20, 20, 30, 40)).shape
    )
    old = tmp_path / "old"
    shutil.copytree(run, old)
    for file in (old / "stages").glob("*/stage.json"):
        content = json.loads(file.read_text())
        del content["dataset"]["framing"]
        file.write_text(json.dumps(content))
    assert load(old / "stages" / "clips").framing is None  # `blear predict` asks for --margin
    assert open_stage(old, "clips", None).framing == Framing()
