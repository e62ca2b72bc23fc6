"""RAF's three packages: original layout, soft labels, invalid data."""

import numpy as np
import pytest
import vtt_trees as trees

from blear.contracts import BuildContext, Dataset
from blear.errors import DataError
from blear.imaging import Box
from blear_emotions.rafdb import Attributes, read_package
from blear_vtt.datasets.params import RafParams
from blear_vtt.datasets.raf import shares_of
from blear_vtt.datasets.still_datasets import RafFaces


@pytest.fixture
def raf(tmp_path):
    return trees.raf(tmp_path / "RAF")


def shares(**given):
    return pytest.approx([given.get(name, 0.0) for name in trees.EMOTIONS])


def read(root, split, **params):
    dataset = RafFaces(RafParams(source=root, size=20, **params), BuildContext())
    return {s.key: s for part in dataset.parts(split) for s in dataset.samples(split, part)}


def test_basic_lists_names_splits_codes_and_paths(raf):
    faces = read_package(raf, "basic")
    assert [(face.name, face.split, face.code) for face in faces[:2]] == [
        ("train_00001.jpg", "train", 5),
        ("train_00002.jpg", "train", 1),
    ]
    assert [face.split for face in faces] == ["train"] * 5 + ["test"] * 2
    assert faces == read_package(raf / "basic", "basic")
    first = faces[0]
    assert first.image == raf / "basic/Image/original/train_00001.jpg"
    assert first.aligned == raf / "basic/Image/aligned/train_00001_aligned.jpg"
    assert first.aligned.is_file()
    assert first.box() == Box(10, 12, 20, 28)
    np.testing.assert_array_equal(first.landmarks(), [[15.5, 20], [25, 20.25], [20, 27], [16, 33], [24, 33]])
    assert first.attributes() == Attributes(gender=1, race=0, age=2)
    assert first.where == f"{raf}/basic/EmoLabel/list_patition_label.txt:1"


def test_multi_has_shares_and_a_box_around_its_landmarks_half_a_side_wider_each_way(raf):
    first, second, third = read_package(raf, "multi")
    assert first.shares == (0.1, 0.2, 0.3, 0.05, 0.15, 0.2)
    assert first.box() == Box(20 - 10, 10 - 10, 20 * 2, 20 * 2)
    assert first.attributes() is None
    assert second.box() == first.box()  # separated by spaces, with attributes at the end
    assert second.attributes() == Attributes(0, 2, 3)
    assert third.split == "test"


def test_basic_codes_in_the_order_of_the_output(raf):
    words = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
    found = {face.code: shares_of(face) for face in read_package(raf, "basic")}
    assert found == {code: shares(**{word: 1}) for code, word in enumerate(words, 1)}


def test_compound_codes_are_half_of_two_emotions(raf):
    pairs = (
        ("happiness", "surprise"),
        ("happiness", "disgust"),
        ("sadness", "fear"),
        ("sadness", "anger"),
        ("sadness", "surprise"),
        ("sadness", "disgust"),
        ("fear", "anger"),
        ("fear", "surprise"),
        ("anger", "surprise"),
        ("anger", "disgust"),
        ("disgust", "surprise"),
    )
    found = [shares_of(face) for face in read_package(raf, "compound")]
    assert found == [shares(**{a: 0.5, b: 0.5}) for a, b in pairs]


def test_multi_shares_are_reordered_and_neutral_has_the_rest(raf):
    first, second, third = (shares_of(face) for face in read_package(raf, "multi"))
    assert first == shares(anger=0.2, disgust=0.3, fear=0.2, happiness=0.05, sadness=0.15, surprise=0.1)
    assert second == shares(happiness=0.4, anger=0.1, neutral=0.5)
    assert third == shares(surprise=0.5, fear=0.5, disgust=0.01)


def test_samples_of_the_official_splits(raf):
    dataset = RafFaces(RafParams(source=raf), BuildContext())
    assert isinstance(dataset, Dataset)
    assert dataset.splits == ("train", "dev")
    assert [t.name for t in dataset.targets] == ["emotion", *(f"emotion.{name}" for name in trees.EMOTIONS)]
    assert dataset.targets[0].classes == trees.EMOTIONS
    train, dev = read(raf, "train"), read(raf, "dev")
    assert len(train) == 5 + 9 + 2
    assert set(dev) == {
        "raf/basic/test_0001",
        "raf/basic/test_0002",
        "raf/compound/test_0010",
        "raf/compound/test_0011",
        "raf/multi/test_0003",
    }
    sad = train["raf/basic/train_00001"]
    assert sad.targets["emotion"] == trees.EMOTIONS.index("sadness")
    assert sad.targets["emotion.sadness"] == 1.0
    assert dict(sad.meta) == {"source": "raf", "package": "basic", "face_px": 20.0}
    assert sad.frames.shape == (1, 20, 20, 3)
    assert train["raf/multi/train_0002"].targets["emotion"] == trees.EMOTIONS.index("neutral")


def test_pooled_splits_are_one(raf):
    dataset = RafFaces(RafParams(source=raf, pool_splits=True, packages=("basic",)), BuildContext())
    assert dataset.splits == ("train",)
    assert len(read(raf, "train", pool_splits=True)) == 7 + 11 + 3
    assert len(read(raf, "train", pool_splits=True, packages=("basic",))) == 7


LIST = "basic/EmoLabel/list_patition_label.txt"
DISTRIBUTION = "multi/EmoLabel/distribution.txt"


@pytest.mark.parametrize(
    ("package", "file", "content", "words"),
    [
        ("basic", LIST, "train_00001.jpg 8", r"list_patition_label.txt:1: label 8 is not one of 1 to 7"),
        ("basic", LIST, "train_00001.jpg 5\n\ntrain_00002.jpg", r"label.txt:3: 1 columns instead of 2"),
        ("basic", LIST, "../train_00001.jpg 5", r"label.txt:1: '../train_00001.jpg' is not the name of an image"),
        ("basic", LIST, "train_1.jpg 5\ntrain_1.jpg 5", r"label.txt:2: train_1.jpg comes twice"),
        ("basic", LIST, "train_1.jpg five", r"label.txt:1: 'five' is not a number"),
        ("basic", LIST, "", r"label.txt: has no row"),
        ("multi", DISTRIBUTION, "train_1.jpg 0.9 0.9 0 0 0 0", r"distribution.txt:1: the shares .* are not those"),
        ("multi", DISTRIBUTION, "train_1.jpg 0.9 0 0 0 0", r"distribution.txt:1: 6 columns instead of 7"),
    ],
)
def test_invalid_label_files_are_rejected_with_their_row(raf, package, file, content, words):
    (raf / file).write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        read_package(raf, package)
    assert caught.value.do


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("boundingbox/train_00001_boundingbox.txt", "1 2 3", r"boundingbox.txt:1: 3 numbers instead of 4"),
        ("boundingbox/train_00001_boundingbox.txt", "9 2 3 4", r"face box 9 2 3 4 has no area"),
        ("boundingbox/train_00001_boundingbox.txt", "1 2 3 4\n1 2 3 4", r"2 lines instead of one"),
        ("boundingbox/train_00001_boundingbox.txt", None, r"boundingbox.txt: cannot be read"),
        ("boundingbox/train_00001_boundingbox.txt", "900 900 950 950", r"does not overlap the image"),
    ],
)
def test_invalid_boxes_are_rejected(raf, file, content, words):
    path = raf / "basic" / "Annotation" / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(DataError, match=words):
        read(raf, "train")


@pytest.mark.parametrize("content", ["1 2\n3\n4 5", "1 2 3", "1 2\n0\n1", "1 2\n0\n1\n2.5", "1 x"])
def test_invalid_landmarks_are_rejected(raf, content):
    face = read_package(raf, "basic")[0]
    (raf / "basic/Annotation/manual/train_00001_manu_attri.txt").write_text(content)
    with pytest.raises(DataError, match=r"train_00001_manu_attri.txt"):
        face.landmarks()


def test_a_name_without_split_is_rejected_only_if_the_split_is_used(raf):
    (raf / LIST).write_text("other_1.jpg 5\n")
    with pytest.raises(DataError, match=r"list_patition_label.txt:1: 'other_1.jpg' names no split"):
        read(raf, "train", packages=("basic",))
    assert read_package(raf, "basic")[0].code == 5


def test_a_missing_package_names_the_file_that_is_wanted(tmp_path):
    with pytest.raises(DataError, match=r"no label file of RAF's package 'compound'"):
        read_package(tmp_path, "compound")


def test_the_description_counts_the_faces_of_each_package(raf):
    described = RafFaces(RafParams(source=raf), BuildContext()).describe()
    assert described == {
        "raf, basic": "7 of the published 15,339",
        "raf, compound": "11 of the published 3,954",
        "raf, multi": "3 of the published 4,908",
    }
