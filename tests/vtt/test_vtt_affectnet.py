"""AffectNet, both releases, and AffectNet with RAF: samples, excluded rows, invalid data."""

import numpy as np
import pytest
import vtt_trees as trees
from vtt_trees import EMOTIONS

from blear.contracts import BuildContext, ClipSpec, Dataset
from blear.errors import DataError
from blear.plugin.component_ref import ComponentRef
from blear_vtt.datasets import affectnet_csv
from blear_vtt.datasets.affectnet import AFFECTNET_TO_VTT, AffectNet
from blear_vtt.datasets.params import AffectNetParams, StillsParams
from blear_vtt.datasets.still_datasets import AffectNetFaces, BothFaces


@pytest.fixture
def csv(tmp_path):
    return trees.affectnet_csv(tmp_path / "affectnet")


@pytest.fixture
def folders(tmp_path):
    return trees.affectnet_folders(tmp_path / "affectnet")


def build(root, **params):
    return AffectNetFaces(AffectNetParams(source=root, size=16, **params), BuildContext())


def read(dataset, split="train"):
    return [s for part in dataset.parts(split) for s in dataset.samples(split, part)]


def labels(samples):
    return [EMOTIONS[s.targets["emotion"]] for s in samples]


def test_mapping_to_the_seven_classes():
    assert AFFECTNET_TO_VTT == (6, 3, 4, 5, 2, 1, 0, None, None, None, None)


def test_seven_classes_are_kept_and_every_row_left_out_is_counted(csv, logged):
    dataset = build(csv)
    assert isinstance(dataset, Dataset)
    assert dataset.clip == ClipSpec(1, 3, 16, 16)
    assert dataset.splits == ("train", "dev")
    train = read(dataset)
    assert labels(train) == ["neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger"]
    assert [s.key for s in train] == [f"affectnet/train/{n:07d}" for n in range(1, 8)]
    assert logged() == [
        f"{csv}, split train: 5 of 12 rows left out: 1 contempt, 1 none, 1 uncertain, 1 no-face, 1 no box"
    ]
    assert AffectNet(csv).left_out("dev") == {"contempt": 1}
    assert dataset.describe() == {
        "affectnet, train": "7 of the published 283,901",
        "affectnet, dev": "2 of the published 3,500",
        "affectnet, train, left out": "1 contempt, 1 none, 1 uncertain, 1 no-face, 1 no box",
        "affectnet, dev, left out": "1 contempt",
    }
    assert labels(read(dataset, "dev")) == ["neutral", "anger"]


def test_labels_metadata_and_pixels_of_a_row(csv):
    happy = read(build(csv))[1]
    assert happy.targets == {"emotion": 3} | {f"emotion.{name}": float(name == "happiness") for name in EMOTIONS}
    assert dict(happy.meta) == {
        "source": "affectnet",
        "face_px": 20.0,
        "file": "1/train1.jpg",
        "valence": 0.25,
        "arousal": -0.5,
    }
    np.testing.assert_allclose(happy.frames[0, 8, 8], (10, 100, 50), atol=3)
    # m = 25, side sqrt(45 * 55) = 49, centre (15, 21): 9 columns and 3 rows lie outside; padded with the mean colour
    np.testing.assert_allclose(happy.frames[0, 0, 0], (10, 100, 50), atol=3)
    black = read(build(csv, padding="black"))[1]
    assert black.frames[0, 0, 0].max() == 0
    assert read(build(csv), "dev")[0].frames[0, 0, 0].max() == 0  # the mean colour is for training


def test_pooled_splits_have_distinct_keys(csv):
    pooled = read(build(csv, pool_splits=True))
    assert len(pooled) == 9
    assert len({s.key for s in pooled}) == 9
    assert build(csv, pool_splits=True).splits == ("train",)


def test_blocks_are_read_without_the_rows_before_them(csv, monkeypatch):
    whole = read(build(csv))
    monkeypatch.setattr(affectnet_csv, "BLOCK", 5)
    dataset = build(csv)
    parts = dataset.parts("train")
    assert [part.rpartition("-")[0] for part in parts] == [
        f"affectnet/train/{a:07d}-{b:07d}" for a, b in ((1, 5), (6, 10), (11, 12))
    ]
    again = [s for part in reversed(parts) for s in build(csv).samples("train", part)]
    assert sorted(s.key for s in again) == [s.key for s in whole]


def test_a_file_without_header_has_the_official_columns(csv):
    lines = (csv / "validation.csv").read_text().splitlines()[1:]
    (csv / "validation.csv").write_text("\n".join(lines) + "\n\n")
    assert labels(read(build(csv), "dev")) == ["neutral", "anger"]


def change(csv, row, text):
    path = csv / "training.csv"
    lines = path.read_text().splitlines()
    lines[row] = text
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("row", "text", "words"),
    [
        (2, trees.affectnet_row("1/a.jpg", 11), r"training.csv, row 2: expression '11' is not one of 0 to 10"),
        (2, "1/a.jpg,1,2,3", r"training.csv, row 2: 4 columns instead of 9"),
        (2, trees.affectnet_row("1/a.jpg", 1, box="5,6,x,30"), r"row 2: face_width 'x' is not a number"),
        (2, trees.affectnet_row("1/a.jpg", 1, box="5,6,0,30"), r"row 2: the box of 0 x 30 pixels has no area"),
        (2, trees.affectnet_row("../a.jpg", 1), r"row 2: '../a.jpg' is no picture of this folder"),
        (2, trees.affectnet_row("1/a.jpg", 1), r"1/a.jpg: the picture is missing"),
        (2, trees.affectnet_row("1/train1.jpg", 1, box="500,6,5,30"), r"row 2: .* does not overlap the image"),
        (2, "\0" * 140_000, r"training.csv, row 2: 0 columns instead of 9"),
        (0, "subDirectory_filePath,face_x", r"the header has no column face_y, face_width"),
    ],
)
def test_invalid_rows_are_rejected(csv, row, text, words):
    change(csv, row, text)
    with pytest.raises(DataError, match=words) as caught:
        read(build(csv))
    assert caught.value.do


def test_an_invalid_row_of_an_excluded_class_is_only_counted(csv):
    change(csv, 11, trees.affectnet_row("x.jpg", 10, box="0,0,0,0"))
    assert len(read(build(csv))) == 7


def test_newer_release(folders, logged):
    dataset = build(folders)
    train = read(dataset)
    assert [(s.key, name) for s, name in zip(train, labels(train), strict=True)] == [
        ("affectnet/train/2", "happiness"),
        ("affectnet/train/30", "anger"),
    ]
    assert logged() == [f"{folders}, split train: 1 of 3 rows left out: 1 contempt"]
    assert dict(train[1].meta) == {"source": "affectnet", "face_px": 224.0, "valence": -0.125, "arousal": 0.5}
    np.testing.assert_allclose(train[1].frames[0, 0, 0], (90, 60, 10), atol=3)
    assert labels(read(dataset, "dev")) == ["neutral"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("2_exp.npy", np.array("12"), r"2_exp.npy: expression 12 is not one of 0 to 10"),
        ("2_exp.npy", np.array([1, 2]), r"2_exp.npy: holds 2 values"),
        ("2_exp.npy", np.array([{}], dtype=object), r"2_exp.npy: cannot be read: .*allow_pickle"),
        ("2_exp.npy", None, r"2_exp.npy: cannot be read"),
        ("2_exp.npy", {"zip": np.arange(3)}, r"2_exp.npy: cannot be read: it is no npy array"),
    ],
)
def test_invalid_annotations_are_rejected(folders, name, content, words):
    path = folders / "train_set" / "annotations" / name
    path.unlink()
    if isinstance(content, dict):
        np.savez(path.with_suffix(".npz"), **content)
        path.with_suffix(".npz").rename(path)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(DataError, match=words):
        read(build(folders))


def test_a_folder_without_a_release_is_rejected(tmp_path):
    with pytest.raises(DataError, match="neither release of AffectNet"):
        build(tmp_path).parts("train")


def test_concatenated_dataset_names_the_source_and_can_be_prepared(csv, tmp_path):
    from blear.data.decoded.store import Store
    from blear.data.prepare.run import prepare_dataset

    trees.raf(tmp_path / "raf")
    dataset = BothFaces(StillsParams(source=tmp_path, size=16, room=1.5), BuildContext())
    assert dataset.clip == ClipSpec(1, 3, 24, 24)
    samples = read(dataset)
    assert [s.meta["source"] for s in samples] == ["affectnet"] * 7 + ["raf"] * 16
    ref = ComponentRef("dataset", "vtt/stills", {"source": str(tmp_path), "size": 16, "room": 1.5})
    prepared = prepare_dataset(ref, tmp_path / "shards", version="1", workers=1)
    assert prepared.count("train") == 23
    assert prepared.count("dev") == 2 + 5
    assert prepared.split("train").class_counts == {"emotion": tuple(labels(samples).count(name) for name in EMOTIONS)}
    columns = Store.open(prepared, "train").metadata(np.arange(23))
    assert [meta["source"] for meta in columns.meta] == ["affectnet"] * 7 + ["raf"] * 16


def test_a_quoted_header_and_windows_paths_are_read(csv):
    plain = read(build(csv), "train")
    for name in ("training.csv", "validation.csv"):
        header, *lines = (csv / name).read_text().splitlines()
        header = ",".join(f'"{column}"' for column in header.split(","))
        lines = [line.replace("/", "\\", 1) for line in lines]
        (csv / name).write_text("\n".join([header, *lines]) + "\n")
    quoted = read(build(csv), "train")
    assert labels(quoted) == labels(plain)
    assert [sample.meta for sample in quoted] == [sample.meta for sample in plain]


def test_a_repeated_header_is_named(csv):
    text = (csv / "training.csv").read_text()
    (csv / "training.csv").write_text(text + text.splitlines()[0] + "\n")
    with pytest.raises(DataError, match="the header is repeated: a second table begins here"):
        build(csv).parts("train")


def test_files_of_macos_are_no_pictures(folders):
    pictures = folders / "train_set" / "images"
    (pictures / "._0.jpg").write_bytes(b"\0\5\x16\7")
    assert len(read(build(folders), "train")) > 0
