"""AnotherMissOh: faces of the annotations as stills, splits by episode, invalid data."""

import json

import numpy as np
import pytest
import vtt_trees as trees
from vtt_trees import EMOTIONS

from blear.contracts import BuildContext, ClipSpec, Dataset
from blear.errors import DataError
from blear_vtt.datasets.another_missoh import AnotherMissOh
from blear_vtt.datasets.params import AnotherMissOhParams


@pytest.fixture
def missoh(tmp_path):
    return trees.missoh(tmp_path)


def build(root, **params):
    return AnotherMissOh(AnotherMissOhParams(**{"source": root, "size": 24, "margin": 0.0} | params), BuildContext())


def read(dataset, split):
    return [sample for part in dataset.parts(split) for sample in dataset.samples(split, part)]


def test_faces_are_stills_of_their_episodes(missoh, logged):
    dataset = build(missoh)
    assert isinstance(dataset, Dataset)
    assert dataset.clip == ClipSpec(1, 3, 24, 24)
    assert (dataset.parts("train"), dataset.parts("dev")) == (
        ["AnotherMissOh01"],
        ["AnotherMissOh07", "AnotherMissOh08"],
    )
    sad, neutral = read(dataset, "train")
    file = missoh / "AnotherMissOh_Visual_full.json"
    assert logged() == [f"{file}, AnotherMissOh01: 2 of 4 faces left out: 1 box none, 1 emotion none"]
    assert sad.key == "AnotherMissOh01_001_0078/0000004327_0_Dokyung"
    assert neutral.key == "AnotherMissOh01_001_0078/0000004327_1_Haeyoung1"
    assert [EMOTIONS[s.targets["emotion"]] for s in (sad, neutral)] == ["sadness", "neutral"]
    assert (sad.subject, sad.video, dict(sad.meta)) == (
        "Dokyung",
        "AnotherMissOh01_001_0078",
        {"frame": 4327, "face_px": 20.0},
    )
    # side sqrt(20 * 30) = 24 about (20, 23): columns 8 to 31, of which 10 to 29 are white
    assert sad.frames[0, 12, 12].min() > 245
    np.testing.assert_allclose(sad.frames[0, 12, 0, :2], [60, 4327 % 200], atol=8)
    assert [EMOTIONS[s.targets["emotion"]] for s in read(dataset, "dev")] == ["anger", "anger"]


def test_the_description_counts_episodes_and_names_missing_pictures(missoh):
    assert build(missoh).describe() == {"episodes": "3 of the published 18"}
    (missoh / "AnotherMissOh_images" / "AnotherMissOh07").rename(missoh / "elsewhere")
    assert build(missoh).describe()["missing"] == "AnotherMissOh_images/AnotherMissOh07"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "the file is list, not an object"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ({"AnotherMissOh01": []}, "'AnotherMissOh01' names no shot"),
        ({"AnotherMissOh01_1_2": [{"persons": []}]}, r"AnotherMissOh01_1_2\[0\]: has no frame_id"),
        ({"AnotherMissOh01_1_2": [{"frame_id": "x_IMAGE_a", "persons": []}]}, "'x_IMAGE_a' names no picture"),
        ({"AnotherMissOh01_1_2": [{"frame_id": "x_IMAGE_1", "persons": [{}]}]}, r"persons\[0\]: has no person_info"),
    ],
)
def test_invalid_annotations_are_rejected(missoh, content, words):
    if isinstance(content, dict):
        dev = {f"AnotherMissOh{n:02d}_1_1": [] for n in (7, 8)}
        content = json.dumps(content | dev)
    (missoh / "AnotherMissOh_Visual_full.json").write_text(content)
    with pytest.raises(DataError, match=words):
        read(build(missoh), "train")


def test_missing_episodes_and_pictures_are_rejected(missoh):
    with pytest.raises(DataError, match="no annotations of episodes 9, which are dev"):
        build(missoh, dev=(7, 9)).parts("train")
    with pytest.raises(DataError, match="no part 'AnotherMissOh07' in split 'train'"):
        list(build(missoh).samples("train", "AnotherMissOh07"))
    (missoh / "AnotherMissOh_images/AnotherMissOh01/001/0078/IMAGE_0000004327.jpg").unlink()
    with pytest.raises(DataError, match=r"IMAGE_0000004327.jpg: the picture is missing"):
        read(build(missoh), "train")
