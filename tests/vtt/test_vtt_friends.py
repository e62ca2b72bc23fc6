"""Friends and CK+: clips, splits without leakage, invalid data."""

import json

import numpy as np
import pytest
import vtt_trees as trees
from pydantic import ValidationError
from vtt_trees import EMOTIONS

from blear.contracts import BuildContext, ClipSpec, Dataset
from blear.errors import DataError
from blear.job.reader import read_job
from blear_vtt.datasets.ckplus import CkPlus
from blear_vtt.datasets.friends import Friends
from blear_vtt.datasets.params import CkPlusParams, FriendsParams
from blear_vtt.datasets.still_datasets import BothFaces


@pytest.fixture
def friends(tmp_path):
    return trees.friends(tmp_path / "friends")


@pytest.fixture
def ckplus(tmp_path):
    return trees.ckplus(tmp_path / "ck")


def build(root, **params):
    return Friends(FriendsParams(**{"source": root, "size": 30, "margin": 0.0} | params), BuildContext())


def read(dataset, split="train"):
    return {s.key: s for part in dataset.parts(split) for s in dataset.samples(split, part)}


def test_splits_consist_of_episodes(friends):
    dataset = build(friends)
    assert isinstance(dataset, Dataset)
    assert dataset.clip == ClipSpec(4, 3, 30, 30)
    assert dataset.parts("train") == ["ep01"]
    assert dataset.parts("dev") == ["ep09", "ep10"]
    assert build(friends, all_episodes=True).parts("train") == ["ep01", "ep09", "ep10"]
    assert build(friends, all_episodes=True).parts("dev") == ["ep09", "ep10"]
    assert build(friends, dev=(1,)).parts("train") == ["ep09", "ep10"]


def test_friends_is_the_validation_set_of_web_faces(friends, repository):
    """The profile of the job: stills of episodes 1 to 10, none of which is trained on."""
    job, _ = read_job(repository / "jobs" / "vtt_resnet.yaml", profile="friends")
    assert (job.stages["static"].data, job.stages["static"].validation_data) == ("stills", "friends")
    assert set(job.used_data) == {"stills", "friends"}
    assert set(read_job(repository / "jobs" / "vtt_resnet.yaml")[0].used_data) == {"stills"}
    params = job.data["friends"].params
    assert tuple(params["dev"]) == tuple(range(1, 11))
    dataset = build(friends, **params)
    assert dataset.splits == ("dev",)
    assert dataset.clip == ClipSpec(1, 3, 30, 30)
    assert dataset.targets == BothFaces.targets


def test_labelled_faces_become_clips_and_the_others_are_counted(friends, logged):
    found = read(build(friends))
    assert list(found) == ["ep01/0001_ross_00003", "ep01/0002_joey_00005", "ep01/0003_old_man_00007"]
    assert [EMOTIONS[s.targets["emotion"]] for s in found.values()] == ["happiness", "anger", "neutral"]
    file = friends / "s01_ep01_tag2_visual_Final_180809.json"
    assert logged() == [f"{file}: 3 of 6 faces left out: 1 box empty or inverted, 1 box none, 1 emotion none"]
    ross = found["ep01/0001_ross_00003"]
    assert ross.targets["emotion.happiness"] == 1.0
    assert (ross.subject, ross.video) == ("ross", "ep01")
    assert ross.time == pytest.approx(3 * 1001 / 24000)
    assert dict(ross.meta) == {"period": 1, "frame": 3, "face_px": 20.0}


def test_a_clip_is_the_same_box_in_two_frames_before_the_key_frame_and_one_after_it(friends):
    """The box is a white square in every frame; around it each frame has its own colour, 20 k."""
    tight = read(build(friends))["ep01/0001_ross_00003"].frames
    assert tight.shape == (4, 30, 30, 3)
    # side sqrt(20 * 30) = 24 about (20, 23): columns 8 to 31 of which 10 to 29 are white
    assert tight[:, 15, 15].min() > 245
    np.testing.assert_allclose(tight[:, 15, 0, 0], [20, 40, 60, 80], atol=8)
    wide = read(build(friends, margin=0.5))["ep01/0001_ross_00003"].frames
    assert wide[:, 15, 0].max() == 0  # side 49 about (20, 23): from column -4 on, black outside


def test_a_window_before_the_episode_repeats_its_first_frame_and_one_after_it_is_rejected(friends):
    first = read(build(friends), "dev")["ep09/0001_ross_00001"].frames
    np.testing.assert_allclose(first[:, 15, 0, 0], [0, 0, 20, 40], atol=8)
    (friends / "ep01" / "00008.jpg").unlink()
    with pytest.raises(DataError, match=r"ep01/00008.jpg: the frame is missing") as caught:
        read(build(friends))
    assert "ffmpeg -i VIDEO -start_number 0" in caught.value.do


def test_stills_and_frames_in_another_folder(friends, tmp_path):
    (friends / "ep01").rename(tmp_path / "ep01")
    dataset = build(friends, window=(0,), frames=tmp_path)
    assert dataset.clip.length == 1
    assert read(dataset)["ep01/0001_ross_00003"].frames.shape == (1, 30, 30, 3)
    with pytest.raises(ValidationError, match="must be in ascending order"):
        FriendsParams(source=friends, window=(0, -1))


@pytest.mark.parametrize(
    ("period", "words"),
    [
        ({"image": "still.jpg"}, r"visual_results\[0\]: image 'still.jpg' names no frame"),
        ({"period_num": "one"}, r"period_num 'one' is not a whole number"),
        ({"person": {}}, r"person is dict, not a list"),
        ({"person": [{"ross": trees.friends_face("bored")}]}, r"\[0\], ross: 'bored' is no emotion"),
        ({"person": [{"ross": [{"emotion": "sad"}]}]}, r"ross: has no face_rect"),
        ({"person": [{"ross": trees.friends_face(rect=("1", "a", "3", "4"))}]}, r"face_rect.min_y 'a' is not a number"),
    ],
)
def test_invalid_annotations_are_rejected(friends, period, words):
    whole = trees.friends_period(1, "Fr_0003.jpg", ross=trees.friends_face()) | period
    file = friends / "s01_ep01_tag2_visual_Final_180809.json"
    file.write_text(json.dumps({"visual_results": [whole]}))
    with pytest.raises(DataError, match=words):
        read(build(friends))


def test_missing_annotations_are_rejected(friends, tmp_path):
    with pytest.raises(DataError, match=r"no annotations of episodes 4, which are dev"):
        build(friends, dev=(4, 9)).parts("train")
    with pytest.raises(DataError, match="holds no annotations"):
        build(tmp_path).parts("train")
    (friends / "s01_ep01_tag2_visual_Final_180809.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read: KeyError"):
        read(build(friends))
    (friends / "s01_ep01_tag2_visual_Final_180809.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="cannot be read: RecursionError"):
        read(build(friends))


def ck(root, **params):
    return CkPlus(CkPlusParams(**{"source": root, "size": 16, "folds": 2} | params), BuildContext())


def test_ckplus_takes_the_first_frame_as_neutral_and_the_last_three_with_the_label(ckplus, logged):
    dataset = ck(ckplus)
    assert isinstance(dataset, Dataset)
    assert dataset.parts("train") == ["S010"]
    assert logged() == [f"{ckplus}: 2 of 5 sequences left out: 1 contempt, 1 without label"]
    assert dataset.parts("dev") == ["S005", "S011"]
    dev = read(dataset, "dev")
    assert {key: EMOTIONS[s.targets["emotion"]] for key, s in dev.items()} == {
        "S005/001/S005_001_00000001": "neutral",
        "S005/001/S005_001_00000003": "disgust",
        "S005/001/S005_001_00000004": "disgust",
        "S005/001/S005_001_00000005": "disgust",
        "S011/001/S011_001_00000001": "neutral",
        "S011/001/S011_001_00000002": "surprise",
    }
    one = dev["S005/001/S005_001_00000004"]
    assert (one.subject, one.video, one.frames.shape) == ("S005", "S005_001", (1, 16, 16, 3))
    assert one.meta["face_px"] == 8.0  # landmarks of columns 24 to 32, rows 10 to 26
    np.testing.assert_allclose(one.frames[0, 8, 8], 40, atol=3)


def test_ckplus_folds_share_no_subject_and_hold_all(ckplus):
    folds = [set(ck(ckplus, folds=3, fold=k).parts("dev")) for k in range(3)]
    assert folds == [{"S005"}, {"S010"}, {"S011"}]
    assert set(ck(ckplus, folds=3, fold=1).parts("train")) == {"S005", "S011"}
    with pytest.raises(ValidationError, match="fold 3 of 3"):
        CkPlusParams(source=ckplus, folds=3, fold=3)
    with pytest.raises(DataError, match=r"split 'dev' is empty: 3 subjects in 9 folds"):
        ck(ckplus, folds=9, fold=8).parts("dev")


def test_ckplus_can_keep_contempt_and_whole_pictures(ckplus):
    dataset = ck(ckplus, contempt=True, crop="whole")
    assert dataset.targets[0].classes == (*EMOTIONS, "contempt")
    found = read(dataset)
    assert [s.targets["emotion"] for s in found.values()] == [6, 7, 7, 7, 6, 3, 3, 3]
    assert next(iter(found.values())).meta["face_px"] == 48.0


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("Emotion/S005/001/S005_001_00000005_emotion.txt", "9.0", r"'9' is not a code from 0 to 7"),
        ("Emotion/S005/001/S005_001_00000005_emotion.txt", "happy", r"_emotion.txt: cannot be read"),
        ("Landmarks/S005/001/S005_001_00000005_landmarks.txt", "1 2", r"2 numbers instead of 68 points"),
        ("Landmarks/S005/001/S005_001_00000005_landmarks.txt", None, r"_landmarks.txt: cannot be read"),
    ],
)
def test_invalid_ckplus_files_are_rejected(ckplus, file, content, words):
    (ckplus / file).unlink()
    if content is not None:
        (ckplus / file).write_text(content)
    with pytest.raises(DataError, match=words):
        read(ck(ckplus), "dev")


def test_ckplus_without_its_labels_is_rejected(ckplus):
    (ckplus / "Emotion").rename(ckplus / "elsewhere")
    with pytest.raises(DataError, match=r"Emotion: no sequence has a label: no such folder") as caught:
        ck(ckplus).parts("train")
    assert "add the folder Emotion" in caught.value.do
    assert ck(ckplus).describe()["missing"] == "Emotion"


def test_the_descriptions_count_and_name_what_is_missing(friends, ckplus):
    assert build(friends).describe() == {"labelled faces": "5 of the published 13,369"}
    (friends / "ep09").rename(friends / "elsewhere")
    assert build(friends).describe()["missing"] == "ep09"
    counts = {"sequences": "5 of the published 593", "with a label": "4 of the published 327"}
    assert ck(ckplus).describe() == counts
    (ckplus / "Landmarks").rename(ckplus / "elsewhere")
    assert ck(ckplus).describe() == counts | {"missing": "Landmarks"}
    assert ck(ckplus, crop="whole").describe() == counts
