"""The authors' index of Friends, a pickle of Python 2: contents, and safety against code in the file."""

import contextlib
import os
import pickle
import struct

import numpy as np
import pytest
import vtt_trees as trees
from pydantic import ValidationError
from vtt_trees import EMOTIONS

from blear.contracts import BuildContext, ClipSpec
from blear.errors import DataError
from blear_vtt.datasets.friends import Friends
from blear_vtt.datasets.friends_index import read_index
from blear_vtt.datasets.params import FriendsParams
from blear_vtt.datasets.plain_npy import load_object


@pytest.fixture
def friends(tmp_path):
    return trees.friends_index(tmp_path)


def build(root, **params):
    given = {"source": root, "index": root / "friends_parsed_new.npy", "size": 224, "margin": 0.3}
    return Friends(FriendsParams(**given | params), BuildContext())


def read(dataset, split):
    return [sample for part in dataset.parts(split) for sample in dataset.samples(split, part)]


def save(root, entry, emotion=3):
    trees.save_as_python2(root / "friends_parsed_new.npy", {emotion: {np.float64(0): entry}})
    return root / "friends_parsed_new.npy"


def test_the_faces_of_the_index_are_clips_of_their_episodes(friends):
    dataset = build(friends)
    assert dataset.clip == ClipSpec(4, 3, 224, 224)
    assert (dataset.parts("train"), dataset.parts("dev")) == (["ep01"], ["ep09", "ep10"])
    ross, joey = read(dataset, "train")
    assert [ross.key, joey.key] == ["ep01/0001_ross_00004", "ep01/0002_joey_00005"]
    assert [EMOTIONS[s.targets["emotion"]] for s in (ross, joey)] == ["happiness", "anger"]
    assert (ross.subject, ross.video, dict(ross.meta)) == ("ross", "ep01", {"period": 1, "frame": 4})
    assert ross.time == pytest.approx(4 * 1001 / 24000)
    np.testing.assert_allclose(ross.frames[:, 100, 100, 0], [40, 60, 80, 100], atol=3)  # frames 2 to 5, as they are
    assert [s.key for s in read(dataset, "dev")] == ["ep09/0001_ross_00004", "ep10/0001_old_man_00004"]


def test_stills_of_the_key_frame(friends):
    (ross, _) = read(build(friends, window=(0,), size=56), "train")
    assert ross.frames.shape == (1, 56, 56, 3)
    np.testing.assert_allclose(ross.frames[0, 28, 28], [80, 20, 0], atol=3)


def test_parameters_in_conflict_with_cropped_pictures_are_rejected(friends):
    with pytest.raises(ValidationError, match=r"already cropped: set margin to 0.3"):
        build(friends, margin=0.5)
    with pytest.raises(ValidationError, match=r"already cropped"):
        build(friends, room=1.3)
    with pytest.raises(ValidationError, match=r"the index has only the frames \[-2, -1, 0, 1\]"):
        build(friends, window=(-3, 0))


def test_the_description_counts_faces_and_names_folders_that_are_missing(friends):
    assert build(friends).describe() == {"labelled faces": "4 of the published 13,369"}
    (friends / "ep10_p_img").rename(friends / "elsewhere")
    assert build(friends).describe()["missing"] == "ep10_p_img"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"emo": 4}, "emo 4 is not the emotion it stands under"),
        ({"img": "ep01_p/ep01_0001_ross_3_00004.jpg"}, "img is str, not a list"),
        ({"img": ["a.jpg"]}, "1 pictures and 4 values of pos"),
        ({"img": ["../a.jpg"] * 4}, "is no path below the folder"),
        ({"img": ["/etc/a.jpg"] * 4}, "is no path below the folder"),
        ({"pos": ["one", 1, "ross", 4]}, "is not episode, period, character, frame"),
        ({"pos": None}, "pos is NoneType, not a list"),
    ],
)
def test_entries_of_another_form_are_rejected(tmp_path, change, words):
    entry = trees.friends_cut(tmp_path, 1, 1, "ross", 3, 4) | change
    with pytest.raises(DataError, match=words):
        read_index(save(tmp_path, entry))
    with pytest.raises(DataError, match="emotion 8 is not one of 0 to 6"):
        read_index(save(tmp_path, entry, emotion=8))


@pytest.mark.parametrize("value", [{"a": [1, 2.5, ("b", None, True)], 3: {}}, "text", {np.float64(2): np.int32(-5)}])
def test_plain_values_are_read_as_python_2_and_3_wrote_them(tmp_path, value):
    trees.save_as_python2(tmp_path / "two.npy", value)
    np.save(tmp_path / "three.npy", np.array(value, dtype=object), allow_pickle=True)
    for name in ("two.npy", "three.npy"):
        found = load_object(tmp_path / name)
        assert found == value
        assert type(found) is type(value)


def npy(path, body):
    """Writes a file with the header of one object and the given pickle."""
    np.save(path, np.array({}, dtype=object), allow_pickle=True)
    header = path.read_bytes()[:128]
    path.write_bytes(header + body)
    return path


class Runs:
    """An object that creates a folder when unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_nothing_in_a_file_is_executed(tmp_path):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        file = npy(tmp_path / "evil.npy", pickle.dumps(Runs(str(tmp_path / "made")), protocol))
        with pytest.raises(DataError, match=r"the pickle refers to \w+.mkdir, but only plain values are read"):
            load_object(file)
    np.save(file, np.array({"deep": [Runs(str(tmp_path / "made"))]}, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="mkdir"):
        load_object(file)
    assert not (tmp_path / "made").exists()
    for name in (b"cbuiltins\neval\n(Vprint(1)\ntR.", b"c__builtin__\ngetattr\n.", b"cnumpy\nload\n.", b"Vx\nP."):
        with pytest.raises(DataError, match="cannot be read"):
            load_object(npy(file, name))


def test_numpy_types_are_not_created_from_the_file(tmp_path):
    """The state of a real dtype or array could make numbers pass for addresses of objects."""
    inner = np.array({"numbers": np.arange(3)}, dtype=object)
    np.save(tmp_path / "inner.npy", inner, allow_pickle=True)
    with pytest.raises(DataError, match="an array of numbers is inside"):
        load_object(tmp_path / "inner.npy")
    address = np.array({"scalar": np.datetime64(0, "s")}, dtype=object)
    np.save(tmp_path / "time.npy", address, allow_pickle=True)
    with pytest.raises(DataError, match="which is no number"):
        load_object(tmp_path / "time.npy")


def test_files_that_are_no_such_array_are_rejected(tmp_path):
    file = tmp_path / "a.npy"
    np.save(file, np.arange(3))
    with pytest.raises(DataError, match=r"an array of int64 and shape \[3\], not one object"):
        load_object(file)
    with pytest.raises(DataError, match="not an array of one object"):
        load_object(npy(file, pickle.dumps({"a": 1})))
    whole = (trees.friends_index(tmp_path) / "friends_parsed_new.npy").read_bytes()
    for end in (4, 60, 130, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:end])
        with pytest.raises(DataError, match="cannot be read"):
            load_object(file)
    with pytest.raises(DataError, match="No such file"):
        load_object(tmp_path / "absent.npy")
    file.write_bytes(whole.replace(b"}", b" ", 1))  # an open bracket in the header
    with pytest.raises(DataError, match="cannot be read"):
        load_object(file)
    rng = np.random.default_rng(0)
    for _ in range(300):  # random damage: the file is read or rejected
        damaged = bytearray(whole)
        damaged[rng.integers(128, len(whole))] = struct.pack("B", rng.integers(256))[0]
        file.write_bytes(damaged)
        with contextlib.suppress(DataError):
            load_object(file)
