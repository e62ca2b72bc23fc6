"""RAF-DB's basic package: labels, splits, the three kinds of face, invalid data."""

import re

import numpy as np
import pytest
from dsn_faces import BOX, POINTS, ROWS, raf_package, spot_places, spots
from PIL import Image

import blear_dsn.raf_db
from blear.contracts import BuildContext, Dataset
from blear.errors import DataError
from blear.plugin.discovery import load_plugins
from blear_dsn.align import similarity, template

ALPHABETICAL = {1: 6, 2: 2, 3: 1, 4: 3, 5: 5, 6: 0, 7: 4}
"""RAF's number -> surprise, fear, disgust, happy, sad, angry, neutral among the alphabetical seven (spec 2.1)."""


@pytest.fixture
def package(tmp_path):
    return raf_package(tmp_path / "raf")


def dataset(source, **params):
    return load_plugins().get("dataset", "dsn/raf_db").build({"source": source, **params}, BuildContext())


def samples(data, split):
    return [sample for part in data.parts(split) for sample in data.samples(split, part)]


def test_labels_and_splits(package):
    data = dataset(package, size=32)
    assert isinstance(data, Dataset)
    assert data.splits == ("train", "dev")
    (target,) = data.targets
    assert target.classes == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    train, dev = samples(data, "train"), samples(data, "dev")
    assert [s.key for s in train] == [f"train_{n:05d}" for n in range(1, 8)]
    assert [s.targets["emotion"] for s in train] == [ALPHABETICAL[code] for code in range(1, 8)]
    assert [(s.key, s.targets["emotion"]) for s in dev] == [("test_00001", 3), ("test_00002", 6)]
    assert [s.meta["code"] for s in dev] == [4, 1]
    assert all(s.frames.shape == (1, 32, 32, 3) and s.frames.dtype == np.uint8 for s in train)
    assert "research" in data.terms


def test_the_packages_own_order(package):
    data = dataset(package, size=32, order="package", face="aligned")
    assert data.targets[0].classes == ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
    assert [s.targets["emotion"] for s in samples(data, "train")] == list(range(7))


def test_the_basic_folder_itself_is_a_source(package):
    assert len(samples(dataset(package / "basic", size=32), "train")) == 7


def test_faces_by_five_points(package):
    face = samples(dataset(package, size=160), "train")[2].frames[0]
    matrix = similarity(POINTS, template(160))
    assert np.abs(spot_places(face) - (POINTS @ matrix[:, :2].T + matrix[:, 2])).max() < 1


def test_faces_by_their_box(package):
    face = samples(dataset(package, size=100, face="box", margin=10), "train")[2].frames[0]
    left, top, right, bottom = BOX
    scale = np.array([100 / (right - left + 20), 100 / (bottom - top + 20)])
    expected = (POINTS - (left - 10, top - 10) + 0.5) * scale - 0.5
    assert np.abs(spot_places(face) - expected).max() < 1
    image = np.asarray(Image.open(package / "basic/Image/original/train_00003.jpg"))
    whole = samples(dataset(package, size=100, face="box", margin=500), "train")[2].frames[0]
    assert np.array_equal(whole, np.asarray(Image.fromarray(image).resize((100, 100), Image.Resampling.BILINEAR)))


def test_the_packages_aligned_faces(package):
    found = samples(dataset(package, size=50, face="aligned"), "train")
    assert [round(s.frames.mean()) for s in found] == [20 * n for n in range(7)]


def test_blocks(package, monkeypatch):
    monkeypatch.setattr(blear_dsn.raf_db, "BLOCK", 3)
    data = dataset(package, size=32, face="aligned")
    assert data.parts("train") == ["00000", "00003", "00006"]
    assert [s.key for s in data.samples("train", "00003")] == ["train_00004", "train_00005", "train_00006"]
    assert data.parts("dev") == ["00000"]
    assert len(samples(data, "train")) + len(samples(data, "dev")) == len(ROWS)


def refusal(action, *words):
    with pytest.raises(DataError) as caught:
        action()
    for word in words:
        assert word in str(caught.value)
    assert caught.value.do


def test_invalid_packages(package):
    data, row = dataset(package, size=32), "list_patition_label.txt:3"
    image = package / "basic/Image/original/train_00003.jpg"
    image.write_bytes(image.read_bytes()[:300])
    refusal(lambda: samples(data, "train"), row, "train_00003.jpg cannot be read")
    image.unlink()
    refusal(lambda: samples(data, "train"), row, "train_00003.jpg is missing")
    Image.fromarray(spots()).save(image)
    points = package / "basic/Annotation/manual/train_00003_manu_attri.txt"
    lines = points.read_text().splitlines()
    points.write_text("\n".join(lines[1:]))
    refusal(lambda: samples(data, "train"), row, "train_00003.jpg has 4 landmarks instead of 5")
    points.write_text("\n".join([lines[0]] * 5))
    refusal(lambda: samples(data, "train"), row, "train_00003.jpg: the points coincide")
    box = package / "basic/Annotation/boundingbox/train_00003_boundingbox.txt"
    box.write_text("900 40 960 150")
    refusal(lambda: samples(dataset(package, face="box"), "train"), row, "outside the image of 200x220")


def test_splits_and_parts_that_are_not_there(package):
    data = dataset(package)
    refusal(lambda: data.parts("test"), "'test'", "train or dev")
    refusal(lambda: next(data.samples("train", "00512")), "no part '00512'")
    labels = package / "basic/EmoLabel/list_patition_label.txt"
    labels.write_text("test_00001.jpg 4\n")
    refusal(lambda: dataset(package).splits, "no train_ faces", str(package))
    labels.write_text("train_00001.jpg 4\n")
    assert dataset(package).splits == ("train",)


def test_prepare_writes_shards(blear, package):
    done = blear("prepare", "dsn/raf_db", package, "--set", "size=32", "--workers", "1")
    assert done.returncode == 0, done.stderr
    checked = blear("verify", done.stdout.strip().splitlines()[-1])
    assert re.search(r"correct; 2 shards, 9 samples", checked.stdout), checked.stderr


def test_the_description_counts_faces_and_names_missing_pictures(package):
    assert dataset(package).describe() == {"train": "7 of the published 12,271", "dev": "2 of the published 3,068"}
    (package / "basic/Image/original/train_00002.jpg").unlink()
    (package / "basic/Image/aligned/test_00001_aligned.jpg").unlink()
    assert dataset(package).describe()["missing"] == "train_00002.jpg"
    assert dataset(package, face="aligned").describe()["missing"] == "test_00001_aligned.jpg"
