import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from blear.contracts import BuildContext, ClipSpec, Dataset
from blear.errors import DataError
from blear_fer.datasets import csv_source, face_source
from blear_fer.datasets.fer2013 import Fer2013
from blear_fer.datasets.params import Fer2013Params

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def dataset(path):
    return Fer2013(Fer2013Params(source=path), BuildContext())


def read(data, split):
    return [sample for part in data.parts(split) for sample in data.samples(split, part)]


def written(rows, packaging, folder):
    if packaging == "fer2013.csv":
        rows.write_csv(folder / packaging)
    elif packaging == "icml_face_data.csv":
        rows.write_icml(folder / packaging)
    else:
        {"zip": rows.write_zip, "folders": rows.write_folders}[packaging](folder)
    return folder


PACKAGINGS = ["fer2013.csv", "icml_face_data.csv", "zip", "folders"]


@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_all_layouts_give_the_same_pixels_labels_and_splits(rows, tmp_path, packaging):
    data = dataset(written(rows, packaging, tmp_path))
    assert isinstance(data, Dataset)
    assert data.splits == ("train", "dev", "test")
    assert data.clip == ClipSpec(1, 1, 48, 48)
    assert data.targets[0].classes == CLASSES
    for split, usage in zip(data.splits, ("Training", "PublicTest", "PrivateTest"), strict=True):
        expected = [row for row in range(len(rows)) if rows.usages[row] == usage]
        samples = read(data, split)
        found = {sample.frames.tobytes(): sample.targets["emotion"] for sample in samples}
        assert found == {rows.faces[row].tobytes(): rows.labels[row] for row in expected}
        assert all(sample.frames.shape == (1, 48, 48, 1) for sample in samples)
        assert all(sample.frames.dtype == np.uint8 for sample in samples)
        if packaging != "folders":  # which have lost the order
            assert [sample.key for sample in samples] == [f"fer{row:07d}" for row in expected]
            assert [sample.meta["row"] for sample in samples] == expected


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_a_csv_path_with_byte_order_mark_or_windows_line_ends(rows, tmp_path, newline):
    path = rows.write_csv(tmp_path / "renamed.csv", newline=newline)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + newline.encode())
    samples = read(dataset(path), "train")
    assert [sample.targets["emotion"] for sample in samples] == [0, 1, 2, 3, 4, 5, 6]
    assert all(np.array_equal(sample.frames[0, :, :, 0], rows.faces[row]) for row, sample in enumerate(samples))


@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_blocks_cover_every_row_once_even_where_usages_alternate(rows, tmp_path, packaging, monkeypatch):
    monkeypatch.setattr(face_source, "BLOCK", 2)
    rows.usages = ["Training", "PrivateTest", "PublicTest"] * 4
    data = dataset(written(rows, packaging, tmp_path))
    for split, usage in (("train", "Training"), ("dev", "PublicTest"), ("test", "PrivateTest")):
        assert len(data.parts(split)) == 2
        found = sorted(sample.frames.tobytes() for sample in read(data, split))
        assert found == sorted(rows.faces[k].tobytes() for k in range(12) if rows.usages[k] == usage)


@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_a_part_reads_the_same_in_another_process(rows, tmp_path, packaging, monkeypatch):
    monkeypatch.setattr(face_source, "BLOCK", 4)
    folder = written(rows, packaging, tmp_path)
    part = dataset(folder).parts("train")[1]
    code = (
        "import sys, json, pathlib\nfrom blear.contracts import BuildContext\n"
        "from blear_fer.datasets.fer2013 import Fer2013\nfrom blear_fer.datasets.params import Fer2013Params\n"
        "data = Fer2013(Fer2013Params(source=pathlib.Path(sys.argv[1])), BuildContext())\n"
        "samples = data.samples('train', sys.argv[2])\n"
        "found = [[s.key, s.targets['emotion'], s.frames.tobytes().hex()] for s in samples]\n"
        "sys.stdout.write(json.dumps(found))\n"
    )
    theirs = json.loads(
        subprocess.run([sys.executable, "-c", code, folder, part], check=True, capture_output=True).stdout
    )
    ours = [[s.key, s.targets["emotion"], s.frames.tobytes().hex()] for s in dataset(folder).samples("train", part)]
    assert theirs == ours
    assert len(ours) == 3


def test_a_part_of_a_csv_is_read_without_the_rows_before_it(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(face_source, "BLOCK", 4)
    path = rows.write_csv(tmp_path / "fer2013.csv")
    part = dataset(path).parts("train")[1]
    lines = path.read_bytes().split(b"\n")
    lines[1] = b"x" * len(lines[1])  # the first row, which a scan would refuse
    path.write_bytes(b"\n".join(lines))
    assert [sample.meta["row"] for sample in dataset(path).samples("train", part)] == [4, 5, 6]
    with pytest.raises(DataError):
        dataset(path).parts("train")


def test_folder_classes_are_matched_by_name_and_keys_derived_from_paths(rows, tmp_path):
    samples = read(dataset(rows.write_folders(tmp_path)), "train")
    keys = {sample.key: sample.targets["emotion"] for sample in samples}
    assert keys["train/neutral/Training_1006"] == 6
    assert keys["train/happy/Training_1003"] == 3


def test_test_folder_without_usage_prefixes_is_the_test_split(rows, tmp_path):
    rows.write_folders(tmp_path)
    for file in (tmp_path / "test").rglob("*.png"):
        file.rename(file.with_name(file.name.split("_")[1]))
    data = dataset(tmp_path)
    assert data.splits == ("train", "test")
    assert len(read(data, "test")) == 5


@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_a_split_without_rows_does_not_exist(rows, tmp_path, packaging):
    rows.usages, rows.labels, rows.faces, rows.votes = (
        rows.usages[:7], rows.labels[:7], rows.faces[:7], rows.votes[:7]
    )  # fmt: skip
    data = dataset(written(rows, packaging, tmp_path))
    assert data.splits == ("train",)
    with pytest.raises(DataError, match="split 'test' is empty: there are no PrivateTest rows"):
        data.parts("test")
    with pytest.raises(DataError, match="no split is called 'valid'"):
        data.parts("valid")


def edited(rows, tmp_path, row, change):
    """A csv in which the fields [emotion, pixels, Usage] of one row are changed."""
    path = rows.write_csv(tmp_path / "fer2013.csv")
    lines = path.read_text().split("\n")
    lines[row + 1] = ",".join(change(*lines[row + 1].split(",")))
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e, p, u: [e, p.rsplit(" ", 1)[0], u], "row 5: 2303 pixels instead of 2304"),
        (lambda e, p, u: [e, "256" + p[p.index(" ") :], u], "row 5: pixel '256' is not a whole number from 0 to 255"),
        (lambda e, p, u: [e, "-1" + p[p.index(" ") :], u], "row 5: pixel '-1' is not a whole number"),
        (lambda e, p, u: [e, "1.5" + p[p.index(" ") :], u], "row 5: pixel '1.5' is not a whole number"),
        (lambda e, p, u: [e, p, "Train"], "row 5: unknown Usage 'Train'"),
        (lambda e, p, u: ["7", p, u], "row 5: label '7' is not one of 0 to 6"),
        (lambda e, p, u: ["", p, u], "row 5: label '' is not one of 0 to 6"),
        (lambda e, p, u: [e, p], "row 5: 2 columns instead of 3"),
    ],
)
def test_an_invalid_csv_row_is_reported_with_cause_and_fix(rows, tmp_path, change, words):
    path = edited(rows, tmp_path, 5, change)
    with pytest.raises(DataError) as caught:
        read(dataset(path), "train")
    assert str(caught.value).startswith(f"{path}, {words}")
    assert caught.value.do


def test_a_csv_without_its_columns_is_rejected(rows, tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("emotion,pixels\n0,1 2 3\n")
    with pytest.raises(DataError, match="the header has no column Usage"):
        dataset(path).parts("train")


def test_a_missing_path_is_reported_at_first_use(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        dataset(tmp_path / "absent").parts("train")
    with pytest.raises(DataError, match="no packaging of FER2013 here"):
        dataset(tmp_path).parts("train")
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    with pytest.raises(DataError, match="there are no Training rows"):
        _ = dataset(tmp_path).splits


def test_an_unknown_part_is_rejected(rows, tmp_path):
    data = dataset(rows.write_csv(tmp_path / "fer2013.csv"))
    with pytest.raises(DataError, match="no part is called '0-6'"):
        list(data.samples("train", "0-6"))


def test_invalid_class_folders_are_rejected(rows, tmp_path):
    rows.write_folders(tmp_path)
    victim = tmp_path / "train/fear/Training_1002.png"
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"Training_1002\.png: the picture cannot be read"):
        read(dataset(tmp_path), "train")
    victim.write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"Training_1002\.png: the picture cannot be read"):
        read(dataset(tmp_path), "train")
    Image.new("L", (64, 48)).save(victim)
    with pytest.raises(DataError, match="the picture is 48 x 64, not 48 x 48 pixels"):
        read(dataset(tmp_path), "train")
    victim.write_bytes(whole)
    (victim.parent / "Training_1002.bmp").write_bytes(whole)
    with pytest.raises(DataError, match=r"its name is too like that of Training_1002\.bmp"):
        read(dataset(tmp_path), "train")
    (tmp_path / "train/contempt").mkdir()
    with pytest.raises(DataError, match="unknown class folder 'contempt'"):
        read(dataset(tmp_path), "train")


def test_a_truncated_jpeg_is_rejected(rows, tmp_path):
    place = tmp_path / "train/happy"
    place.mkdir(parents=True)
    Image.fromarray(rows.faces[0]).save(place / "a.jpg")
    (place / "a.jpg").write_bytes((place / "a.jpg").read_bytes()[:-400])
    with pytest.raises(DataError, match=r"a\.jpg: the picture cannot be read"):
        read(dataset(tmp_path), "train")


def test_invalid_zip_files_are_rejected(rows, tmp_path):
    rows.write_zip(tmp_path)
    table = tmp_path / "labels.csv"
    text = table.read_text()
    table.write_text(text.replace("all/00004.png", "all/99999.png"))
    with pytest.raises(DataError, match=r"a picture listed in labels\.csv is missing.*99999"):
        read(dataset(tmp_path), "train")
    table.write_text(text.replace("usage", "use"))
    with pytest.raises(DataError, match="the header has no column usage"):
        read(dataset(tmp_path), "train")
    table.write_text(text)
    (tmp_path / "faces.zip").write_bytes(b"PK no more")
    with pytest.raises(DataError, match="the archive cannot be read"):
        read(dataset(tmp_path), "train")


def test_any_damage_of_the_zip_mirror_is_reported(rows, tmp_path):
    """Single bits of headers, compressed data and the directory; zipfile raises errors of eight types."""
    rows.write_zip(tmp_path)
    with zipfile.ZipFile(tmp_path / "faces.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for row in range(len(rows)):
            buffer = io.BytesIO()
            Image.fromarray(rows.faces[row] // 8).save(buffer, "BMP")
            archive.writestr(f"all/{row:05d}.png", buffer.getvalue())
    whole, rng = (tmp_path / "faces.zip").read_bytes(), np.random.default_rng(0)
    read(dataset(tmp_path), "train")
    refused = 0
    for place in (*range(31), *rng.integers(31, len(whole), 100).tolist(), *range(len(whole) - 22, len(whole))):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "faces.zip").write_bytes(damaged)
        try:
            read(dataset(tmp_path), "train")
        except DataError:
            refused += 1
    assert refused > 60
    table = tmp_path / "labels.csv"
    table.write_bytes(table.read_bytes() + b"\xff\n")
    with pytest.raises(DataError, match=r"labels\.csv, line 14: is no text in UTF-8"):
        dataset(tmp_path).parts("train")


def test_real_counts_per_class_and_split(real_fer2013):
    data = dataset(real_fer2013)
    assert data.splits == ("train", "dev")
    assert len(data.parts("train")) == 8
    counts = {
        split: np.bincount([sample.targets["emotion"] for sample in read(data, split)]).tolist()
        for split in data.splits
    }
    assert counts["train"] == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert counts["dev"] == [467, 56, 496, 895, 653, 415, 607]
    assert data.describe() == {
        "Training": "28,709 of the published 28,709",
        "PublicTest": "3,589 of the published 3,589",
        "missing": "PrivateTest: no rows here; the official fer2013.csv has them",
    }


def test_real_rows_are_equal_in_all_layouts(real_fer2013, rows, tmp_path):
    data = dataset(real_fer2013)
    samples = [sample for sample, _ in zip(data.samples("train", data.parts("train")[0]), range(50), strict=False)]
    rows.faces = np.stack([sample.frames[0, :, :, 0] for sample in samples])
    rows.labels = [sample.targets["emotion"] for sample in samples]
    rows.usages, rows.votes = ["Training"] * 50, [[0] * 10] * 50
    rows.write_csv(tmp_path / "fer2013.csv")
    rows.write_icml(tmp_path / "icml.csv")
    for path in (tmp_path / "fer2013.csv", tmp_path / "icml.csv"):
        for ours, theirs in zip(read(dataset(path), "train"), samples, strict=True):
            assert ours.key == theirs.key
            assert ours.targets == theirs.targets
            assert np.array_equal(ours.frames, theirs.frames)
    folders = {
        sample.frames.tobytes(): sample.targets for sample in read(dataset(rows.write_folders(tmp_path / "f")), "train")
    }
    assert folders == {sample.frames.tobytes(): sample.targets for sample in samples}


@pytest.mark.parametrize("write", ["write_csv", "write_folders", "write_zip"])
def test_protocol_of_fer_vgg_gru_trains_on_both_and_tests_on_private(rows, tmp_path, write):
    source = tmp_path / ("fer2013.csv" if write == "write_csv" else "raw")
    getattr(rows, write)(source)
    dataset = Fer2013(Fer2013Params(source=source, protocol="fer_vgg_gru"), BuildContext())
    assert dataset.splits == ("train", "dev")
    (train,), (dev,) = dataset.parts("train"), dataset.parts("dev")
    samples = {split: list(dataset.samples(split, part)) for split, part in (("train", train), ("dev", dev))}
    usages = {s: [rows.usages[k] for k in picked_rows(rows, samples[s])] for s in samples}
    assert sorted(usages["train"]) == ["PublicTest"] * 3 + ["Training"] * 7
    assert usages["dev"] == ["PrivateTest"] * 2
    with pytest.raises(DataError, match="no split is called 'test'"):
        dataset.parts("test")


def picked_rows(rows, samples):
    """The row of each sample, found by its pixels."""
    return [int(np.flatnonzero((rows.faces == s.frames[0, ..., 0]).all(axis=(1, 2)))[0]) for s in samples]


def test_a_quoted_comma_and_a_lower_case_usage_are_read(rows, tmp_path):
    path = rows.write_csv(tmp_path / "fer2013.csv")
    _, *lines = path.read_text().splitlines()
    quoted = [",".join(['"web, 2013"', *(f'"{field}"' for field in line.split(","))]) for line in lines]
    path.write_text("\n".join(['"note","Emotion","pixels","usage"', *quoted]).replace("Training", "training") + "\n")
    samples = read(dataset(path), "train")
    assert [sample.targets["emotion"] for sample in samples] == rows.labels[:7]
    assert all(np.array_equal(sample.frames[0, :, :, 0], rows.faces[row]) for row, sample in enumerate(samples))


@pytest.mark.parametrize("second", ["emotion,pixels,Usage\n", "\n0,1 2,Training\n", "\nusage,rows\nTraining,7\n"])
def test_a_second_table_in_the_csv_is_named(rows, tmp_path, second):
    path = rows.write_csv(tmp_path / "fer2013.csv")
    path.write_text(path.read_text() + second)
    with pytest.raises(DataError, match=r"row 12: .*a second table begins here\n  -> .* from this row on"):
        dataset(path).parts("train")


def test_more_rows_than_fer2013_has_are_a_second_table(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_source, "ROWS", 11)
    with pytest.raises(DataError, match=r"row 11: FER2013 has 11 rows, and this is one more: a second table"):
        dataset(rows.write_csv(tmp_path / "fer2013.csv")).parts("train")


def test_a_repeated_header_in_the_labels_of_the_zip_is_named(rows, tmp_path):
    rows.write_zip(tmp_path)
    table = tmp_path / "labels.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(DataError, match="row 12: the header is repeated: a second table begins here"):
        dataset(tmp_path).parts("train")
    table.write_text("\n".join([lines[0].replace("usage", "Usage"), *lines[1:]]))
    assert len(read(dataset(tmp_path), "train")) == 7


def test_the_description_shows_that_a_file_is_cut_off(rows, tmp_path):
    """A file that ends between two rows has no other sign of it."""
    assert rows.usages == [*["Training"] * 7, *["PublicTest"] * 3, *["PrivateTest"] * 2]
    assert dataset(rows.write_csv(tmp_path / "fer2013.csv")).describe() == {
        "Training": "7 of the published 28,709",
        "PublicTest": "3 of the published 3,589",
        "PrivateTest": "2 of the published 3,589",
    }


def test_numbered_class_folders_have_the_numbers_of_fer2013(rows, tmp_path):
    """`train/0..6` and `test/0..6` of the FER-VGG-GRU system: Training with PublicTest, and PrivateTest."""
    for row, (usage, label, face) in enumerate(zip(rows.usages, rows.labels, rows.faces, strict=True)):
        place = tmp_path / ("test" if usage == "PrivateTest" else "train") / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(place / f"{row}.png")
    data = Fer2013(Fer2013Params(source=tmp_path, protocol="fer_vgg_gru"), BuildContext())
    assert data.splits == ("train", "dev")
    for split, usages in (("train", ("Training", "PublicTest")), ("dev", ("PrivateTest",))):
        samples = read(data, split)
        assert sorted(rows.usages[row] in usages for row in picked_rows(rows, samples)) == [True] * len(samples)
        labels = [rows.labels[row] for row in picked_rows(rows, samples)]
        assert [sample.targets["emotion"] for sample in samples] == labels
    assert data.describe() == {
        "class folders": "0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise, 6 neutral: FER2013's numbers, not "
        "the alphabetical order",
        "train/": "10 of the published 32,298: Training and PublicTest together, which are the split train of "
        "protocol: fer_vgg_gru",
        "test/": "2 of the published 3,589: PrivateTest",
    }
    (tmp_path / "train" / "7").mkdir()
    with pytest.raises(DataError, match="unknown class folder '7'"):
        _ = dataset(tmp_path).splits


def test_the_holdout_is_a_fixed_share_of_the_training_pictures(rows, tmp_path):
    generator = np.random.default_rng(0)
    rows.faces = generator.integers(0, 256, (400, 48, 48), dtype=np.uint8)
    rows.faces[390:] = rows.faces[:10]  # copies
    rows.usages, rows.labels = ["Training"] * 399 + ["PublicTest"], [0] * 400
    whole = read(dataset(rows.write_csv(tmp_path / "fer2013.csv")), "train")
    data = Fer2013(Fer2013Params(source=tmp_path / "fer2013.csv", holdout=0.1), BuildContext())
    assert data.splits == ("train", "dev", "holdout")
    train, holdout = ({s.key: s.frames.tobytes() for s in read(data, split)} for split in ("train", "holdout"))
    assert len(train) + len(holdout) == len(whole) == 399
    assert sorted(train | holdout) == [sample.key for sample in whole]
    assert not set(train.values()) & set(holdout.values())  # copies of a picture are in one split
    assert 20 <= len(holdout) <= 60
    assert len(read(data, "dev")) == 1
    smaller = Fer2013(Fer2013Params(source=tmp_path / "fer2013.csv", holdout=0.05), BuildContext())
    assert {sample.key for sample in read(smaller, "holdout")} < set(holdout)
