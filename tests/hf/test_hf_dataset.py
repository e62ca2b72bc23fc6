"""`hf/dataset` on real data sets of the library: class folders, Parquet, `save_to_disk`, videos."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from blear.contracts import BuildContext, ClipSpec
from blear.errors import DataError
from blear.plugin.conformance.datasets import dataset_checks
from blear.plugin.conformance.suite import checks_of
from blear.plugin.discovery import load_plugins
from blear_hf import HfParams
from blear_hf.dataset import HfDataset

COLOURS = {"blue": (0, 0, 255), "red": (255, 0, 0)}


@pytest.fixture(autouse=True)
def _apart(tmp_path, monkeypatch):
    """The library's cache in a folder of the test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folders(tmp_path):
    """Class folders of PNG files, 40 x 20: a colour on the left of the middle, its half on the right."""
    for split, count in (("train", 3), ("test", 2)):
        for name, colour in COLOURS.items():
            folder = tmp_path / "faces" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture = np.zeros((20, 40, 3), np.uint8)
                picture[:, :20] = colour
                picture[:, 20:] = np.array(colour) // 2
                picture[0, 20] = number
                Image.fromarray(picture).save(folder / f"{number}.png")
    return tmp_path / "faces"


def build(**params):
    return HfDataset(HfParams(**params), BuildContext())


def read(dataset, split):
    return [sample for part in dataset.parts(split) for sample in dataset.samples(split, part)]


def test_class_folders(folders):
    dataset = build(source=folders, size=20)
    assert dataset.splits == ("train", "test")
    assert dataset.clip == ClipSpec(1, 3, 20, 20)
    assert [(target.name, target.classes) for target in dataset.targets] == [("label", ("blue", "red"))]
    train = read(dataset, "train")
    assert [sample.targets["label"] for sample in train] == [0, 0, 0, 1, 1, 1]
    assert train[4].key == "train_00000004"
    assert train[4].frames.dtype == np.uint8
    assert train[4].frames.shape == (1, 20, 20, 3)
    np.testing.assert_array_equal(train[4].frames[0, 5, :10], [(255, 0, 0)] * 10)  # the centre square: columns 10..29
    np.testing.assert_array_equal(train[4].frames[0, 5, 10:], [(127, 0, 0)] * 10)
    assert len(read(dataset, "test")) == 4


def test_conformance(folders):
    (registered,) = [c for c in load_plugins().components["dataset"].values() if c.name == "hf/dataset"]
    asked = 0
    for check in checks_of("hf"):
        if check.example == 0 and "survive" in check.requirement:
            check()
    from dataclasses import replace

    real = replace(
        registered, component=replace(registered.component, examples=({"source": str(folders), "size": 16},))
    )
    for check in dataset_checks(real):
        check()
        asked += 1
    assert asked == 5


def test_a_saved_set_with_words_numbers_and_subjects(folders, tmp_path):
    rows = {
        "face": [str(folders / "train" / "red" / "0.png"), str(folders / "train" / "blue" / "0.png")] * 2,
        "mood": ["sad", "happy", "happy", "sad"],
        "valence": [-0.5, 0.25, 0.75, -1.0],
        "who": [7, 8, 7, 8],
    }
    table = datasets.Dataset.from_dict(rows).cast_column("face", datasets.Image())
    datasets.DatasetDict({"dev": table, "train": table}).save_to_disk(tmp_path / "saved")
    table.save_to_disk(tmp_path / "single")
    assert build(source=tmp_path / "single", targets=["mood"], size=10).splits == ("train",)
    dataset = build(source=tmp_path / "saved", targets=["valence", "mood"], subject="who", color="grey", size=10)
    assert dataset.splits == ("train", "dev")
    assert [target.kind for target in dataset.targets] == ["value", "class"]
    assert dataset.targets[1].classes == ("happy", "sad")
    samples = read(dataset, "dev")
    assert [sample.targets for sample in samples][:2] == [{"valence": -0.5, "mood": 1}, {"valence": 0.25, "mood": 0}]
    assert [sample.subject for sample in samples] == ["7", "8", "7", "8"]
    assert samples[0].frames[0, 5, 2, 0] == 76  # luma of red: 0.299 x 255


def test_parquet_with_embedded_pictures(folders, tmp_path):
    table = datasets.load_dataset(str(folders), split="train")
    (tmp_path / "parquet").mkdir()
    table.to_parquet(tmp_path / "parquet" / "train.parquet")
    dataset = build(source=tmp_path / "parquet", size=20)
    assert dataset.splits == ("train",)
    straight = read(build(source=folders, size=20), "train")
    for sample, other in zip(read(dataset, "train"), straight, strict=True):
        np.testing.assert_array_equal(sample.frames, other.frames)


def test_videos_give_frames_spread_over_each(tmp_path):
    import av

    for name in COLOURS:
        folder = tmp_path / "clips" / "train" / name
        folder.mkdir(parents=True)
        with av.open(str(folder / "a.mp4"), "w") as file:
            stream = file.add_stream("libx264", rate=25, options={"crf": "1"})
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv444p"
            for grey in range(0, 250, 25):
                frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), grey, np.uint8), format="rgb24")
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    dataset = build(source=tmp_path / "clips", length=4, size=16)
    assert dataset.clip == ClipSpec(4, 3, 16, 16)
    (first, _) = read(dataset, "train")
    assert first.frames.shape == (4, 16, 16, 3)
    np.testing.assert_allclose(first.frames.mean(axis=(1, 2, 3)), [0, 75, 150, 225], atol=3)


def test_missing_names_are_reported_with_available_names(folders, tmp_path):
    for params, message in (
        ({"targets": ["mood"]}, r"no column 'mood'\n  -> it has: image, label"),
        ({"splits": ["validation"]}, r"no split 'validation'\n  -> it has: "),
        ({"subject": "who"}, "no column 'who'"),
    ):
        with pytest.raises(DataError, match=message):
            build(source=folders, **params)
    with pytest.raises(DataError, match="cannot be loaded"):
        build(source=tmp_path / "nowhere")
    (folders / "train" / "red" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"train, row 4: the picture cannot be read"):
        read(build(source=folders), "train")
    for params in ({}, {"source": folders, "hub": "a/b"}):
        with pytest.raises(ValidationError, match="give `source` or `hub`"):
            HfParams(**params)


@pytest.mark.parametrize(
    ("labels", "kind", "classes", "found"),
    [
        (["sad", "happy", "sad"], "class", ("happy", "sad"), [1, 0, 1]),
        ([10, 2, -1], "class", ("-1", "2", "10"), [2, 1, 0]),
        ([True, False, True], "class", ("False", "True"), [1, 0, 1]),
        ([0.5, 0.25, 1.0], "value", None, [0.5, 0.25, 1.0]),
    ],
)
def test_a_column_called_label_is_the_target_whatever_its_type(folders, tmp_path, labels, kind, classes, found):
    pictures = [str(folders / "train" / "red" / f"{n}.png") for n in range(3)]
    table = datasets.Dataset.from_dict({"image": pictures, "label": labels}).cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path / "saved")
    dataset = build(source=tmp_path / "saved", size=10)
    (target,) = dataset.targets
    assert (target.name, target.kind, target.classes or None) == ("label", kind, classes)
    assert [sample.targets["label"] for sample in read(dataset, "train")] == found


def test_a_column_that_is_no_label_is_named(folders, tmp_path):
    pictures = [str(folders / "train" / "red" / "0.png")] * 1100
    rows = {"image": pictures, "label": list(range(1100)), "mood": [["sad"]] * 1100, "boxes": [1] * 1100}
    table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match=r"column 'label' has 1100 different values\n  -> .*targets: \[label\]"):
        build(source=tmp_path / "saved")
    assert build(source=tmp_path / "saved", targets=["label"]).targets[0].kind == "value"
    with pytest.raises(DataError, match="column 'mood' is of type "):
        build(source=tmp_path / "saved", targets=["mood"])
    datasets.DatasetDict({"train": table.remove_columns("label")}).save_to_disk(tmp_path / "unlabelled")
    with pytest.raises(DataError, match=r"none called label or labels\n  -> name columns in `targets`"):
        build(source=tmp_path / "unlabelled")


def test_splits_whose_columns_differ_are_refused(folders, tmp_path):
    """The class numbers of a split whose classes have another order are other labels."""
    table = datasets.load_dataset(str(folders))["train"]
    swapped = table.cast_column("label", datasets.ClassLabel(names=["red", "blue"]))
    wholes = table.add_column("level", [1] * len(table))
    for name, test, what in (
        ("order", swapped, r"'label' is ClassLabel\(.*\['blue', 'red'\].*, but ClassLabel\(.*\['red', 'blue'\]"),
        ("missing", table.rename_column("image", "picture"), "'image' is Image.*but missing in 'test'"),
        ("kind", table.remove_columns("label").add_column("label", ["red"] * len(table)), "'label' is ClassLabel"),
    ):
        datasets.DatasetDict({"train": table, "test": test}).save_to_disk(tmp_path / name)
        with pytest.raises(DataError, match=what):
            build(source=tmp_path / name)
        assert build(source=tmp_path / name, splits=["train"]).splits == ("train",)
    narrow = wholes.cast_column("level", datasets.Value("int8"))
    datasets.DatasetDict({"train": wholes, "test": narrow}).save_to_disk(tmp_path / "narrow")
    assert len(read(build(source=tmp_path / "narrow", targets=["level"]), "test")) == 6


def test_the_hub_without_a_connection(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"hf/dataset: nobody/nothing: cannot be loaded: .*\n  -> check name"):
        build(hub="nobody/nothing")


def test_splits_are_drawn_by_subject_and_numbers_can_be_classes(folders, tmp_path):
    pictures = [str(folders / "train" / "red" / f"{n % 3}.png") for n in range(40)]
    rows = {"image": pictures, "mood": [n % 3 for n in range(40)], "who": [n % 10 for n in range(40)]}
    table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path / "saved")
    options = {"source": tmp_path / "saved", "targets": ["mood"], "subject": "who", "size": 8}
    dataset = build(**options, classes=["mood"], test=0.2, dev=0.1)
    assert dataset.targets[0].classes == ("0", "1", "2")
    assert dataset.splits == ("train", "dev", "test")
    people = {split: {sample.subject for sample in read(dataset, split)} for split in dataset.splits}
    assert {split: len(names) for split, names in people.items()} == {"train": 7, "dev": 1, "test": 2}
    assert len(set.union(*people.values())) == 10
    assert sum(len(read(dataset, split)) for split in dataset.splits) == 40
    with pytest.raises(DataError, match="the data have a split 'test' already"):
        build(source=folders, test=0.5)
    with pytest.raises(ValidationError, match="`classes` names columns of `targets`"):
        HfParams(**options, classes=["who"])


def test_no_progress_bars_outside_a_terminal(folders, capfd):
    build(source=folders)
    assert "%|" not in capfd.readouterr().err
    assert datasets.are_progress_bars_disabled()
