"""Lists of faces: pictures, clips as folders, clips without a face, invalid lists."""

import numpy as np
import pytest
from dsn_faces import faces, save, write

import blear_dsn.face_list
from blear.contracts import BuildContext, Dataset
from blear.errors import DataError
from blear.plugin.discovery import load_plugins


@pytest.fixture
def lists(tmp_path):
    """Four pictures for training; two clips of three and two frames for testing."""
    pictures = faces(9)
    for n in range(4):
        save(pictures[n], tmp_path / "crops" / f"train {n}.v1.png")
    write(tmp_path / "Train_RAF_Face.txt", [f"crops/train {n}.v1.png {n + 3}" for n in range(4)])
    for n in range(5):
        save(pictures[4 + n], tmp_path / "Val_AFEW" / f"00{n // 3}" / f"00{n // 3}-{n:3d}.png")
    write(tmp_path / "Val_RAF_Face.txt", ["Val_AFEW/000 6", "", "Val_AFEW/001\t0"])
    return tmp_path


def dataset(source, **params):
    return (
        load_plugins().get("dataset", "dsn/face_list").build({"source": source, "size": 48, **params}, BuildContext())
    )


def samples(data, split):
    return [sample for part in data.parts(split) for sample in data.samples(split, part)]


def test_pictures_are_stills(lists):
    data = dataset(lists)
    assert isinstance(data, Dataset)
    assert data.splits == ("train", "dev")
    found = samples(data, "train")
    assert [(s.key, s.targets["emotion"], s.video) for s in found] == [
        (f"crops/train_{n}_v1", n + 3, "") for n in range(4)
    ]
    assert np.array_equal(np.stack([s.frames[0] for s in found]), faces(9)[:4])
    assert data.targets[0].classes[6] == "surprise"


def test_folders_are_clips_of_stills(lists):
    data = dataset(lists)
    assert data.parts("dev") == ["00000", "00001"]
    found = samples(data, "dev")
    assert [(s.key, s.video, s.targets["emotion"]) for s in found] == [
        ("Val_AFEW/000/00000", "Val_AFEW/000", 6),
        ("Val_AFEW/000/00001", "Val_AFEW/000", 6),
        ("Val_AFEW/000/00002", "Val_AFEW/000", 6),
        ("Val_AFEW/001/00000", "Val_AFEW/001", 0),
        ("Val_AFEW/001/00001", "Val_AFEW/001", 0),
    ]
    assert np.array_equal(np.stack([s.frames[0] for s in found]), faces(9)[4:])
    assert {s.meta["found"] for s in found} == {1}


def test_names_in_the_order_of_their_padded_numbers(lists):
    folder = lists / "Val_AFEW" / "002"
    for n in (2, 10, 1):
        save(np.full((48, 48, 3), n, np.uint8), folder / f"002-{n:3d}.png")
    write(lists / "Val_RAF_Face.txt", ["Val_AFEW/002 6"])
    assert [s.frames.max() for s in samples(dataset(lists), "dev")] == [1, 2, 10]


def test_blocks_and_resizing(lists, monkeypatch):
    monkeypatch.setattr(blear_dsn.face_list, "BLOCK", 3)
    data = dataset(lists, size=24, dev=None)
    assert data.splits == ("train",)
    assert data.parts("train") == ["00000", "00003"]
    assert {s.frames.shape for s in samples(data, "train")} == {(1, 24, 24, 3)}


def test_other_classes(lists):
    write(lists / "Train_RAF_Face.txt", ["crops/train 0.v1.png 1"])
    data = dataset(lists, classes=["calm", "happy"])
    assert data.targets[0].classes == ("calm", "happy")
    assert samples(data, "train")[0].targets == {"emotion": 1}


def test_absolute_paths_and_dots(lists):
    write(lists / "Train_RAF_Face.txt", [f"{lists}/crops/train 0.v1.png 1", "./crops/../crops/train 1.v1.png 2"])
    found = samples(dataset(lists), "train")
    assert np.array_equal(found[0].frames[0], faces(9)[0])
    assert found[0].key.endswith("/crops/train_0_v1")
    assert not found[0].key.startswith("/")
    assert found[1].key == "crops/crops/train_1_v1"


def test_a_clip_without_a_face(lists):
    (lists / "Val_AFEW" / "003").mkdir()
    write(lists / "Val_RAF_Face.txt", ["Val_AFEW/000 6", "Val_AFEW/003 2"])
    with pytest.raises(DataError, match=r"no picture in .*003") as caught:
        samples(dataset(lists), "dev")
    assert caught.value.where.endswith("Val_RAF_Face.txt:2")
    assert "empty: black" in caught.value.do
    last = samples(dataset(lists, empty="black"), "dev")[-1]
    assert (last.key, last.video, last.targets["emotion"], last.meta["found"]) == (
        "Val_AFEW/003/00000",
        "Val_AFEW/003",
        2,
        0,
    )
    assert not last.frames.any()


def test_training_leaves_out_clips_without_a_face(lists, logged):
    """A black picture with an emotion's label would be trained on."""
    (lists / "Val_AFEW" / "003").mkdir()
    write(lists / "Train_AFEW.txt", ["Val_AFEW/003 2", "Val_AFEW/000 6", "Val_AFEW/001 0"])
    with pytest.raises(DataError, match=r"no picture in .*003"):
        samples(dataset(lists, train="Train_AFEW.txt"), "train")
    found = samples(dataset(lists, train="Train_AFEW.txt", empty="black"), "train")
    assert {s.video for s in found} == {"Val_AFEW/000", "Val_AFEW/001"}
    assert {s.meta["found"] for s in found} == {1}
    assert logged() == [f"{lists}/Train_AFEW.txt: 1 of 3 clips have no face and are left out"]
    write(lists / "Train_AFEW.txt", ["Val_AFEW/003 2"])
    with pytest.raises(DataError, match="no clip of the list has a face"):
        dataset(lists, train="Train_AFEW.txt", empty="black").parts("train")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("crops/train 0.v1.png", ["is not <path> <label 0..6>"]),
        ("crops/train 0.v1.png 7", ["is not <path> <label 0..6>"]),
        ("crops/train 0.v1.png -1", ["is not <path> <label 0..6>"]),
        ("3", ["is not <path> <label 0..6>"]),
        ("crops/train_1.v1.png 3", ["the same key as", "Train_RAF_Face.txt:1: crops/train_1_v1"]),
        ("crops/nobody.png 3", ["nobody.png is missing"]),
    ],
)
def test_invalid_rows_are_reported(lists, line, words):
    write(lists / "Train_RAF_Face.txt", ["crops/train 1.v1.png 2", line])
    with pytest.raises(DataError) as caught:
        samples(dataset(lists), "train")
    assert caught.value.where.endswith("Train_RAF_Face.txt:2")
    for word in words:
        assert word in caught.value.what
    assert caught.value.do


def test_missing_lists_are_reported(lists):
    with pytest.raises(DataError, match="the list cannot be read"):
        dataset(lists, train="other.txt").parts("train")
    write(lists / "empty.txt", ["", ""])
    with pytest.raises(DataError, match="the list has no row"):
        dataset(lists, dev="empty.txt").parts("dev")
    with pytest.raises(DataError, match="no split is called 'test'"):
        dataset(lists).parts("test")
    with pytest.raises(DataError, match="no part '00009'"):
        next(dataset(lists).samples("train", "00009"))


def test_the_description_names_what_is_missing_and_counts_clips_without_a_face(lists):
    assert dataset(lists).describe() == {}
    (lists / "crops/train 1.v1.png").unlink()
    for picture in (lists / "Val_AFEW/001").iterdir():
        picture.unlink()
    assert dataset(lists).describe() == {"missing": str(lists / "crops/train 1.v1.png"), "clips without a face": "1"}


def test_files_of_macos_are_no_pictures(lists):
    (lists / "Val_AFEW" / "000" / "._000-  0.png").write_bytes(b"\0\5\x16\7")
    assert len(samples(dataset(lists), "dev")) == 5


def test_a_list_written_on_windows(lists):
    rows = (lists / "Train_RAF_Face.txt").read_text()
    (lists / "Train_RAF_Face.txt").write_text(rows.replace("/", "\\").replace("\n", "\r\n"))
    assert [sample.key for sample in samples(dataset(lists), "train")] == [f"crops/train_{n}_v1" for n in range(4)]
    for path in ("D:\\faces\\1.png", "D:/faces/1.png", "\\\\server\\faces\\1.png"):
        write(lists / "Train_RAF_Face.txt", [f"{path} 3"])
        with pytest.raises(DataError, match=r"Train_RAF_Face.txt:1: .* is a path of a Windows computer"):
            samples(dataset(lists), "train")
