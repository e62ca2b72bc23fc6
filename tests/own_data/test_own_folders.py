"""`folders`: layouts of class folders, compared with Pillow and with the paths themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from own_files import picture, read_all, reference, video
from PIL import Image
from pydantic import ValidationError

from blear.contracts import BuildContext, ClipSpec
from blear.data.prepare.dataset_digest import dataset_digest
from blear.errors import DataError
from blear_own_data.folders import Folders
from blear_own_data.params import FoldersParams


def build(source, **params):
    return Folders(FoldersParams(source=source, **{"size": 12, **params}), BuildContext())


def files(*paths):
    """Expected file -> (split, class), the last two folders of its path."""
    return {path: tuple(path.split("/")[-3:-1]) for path in paths}


SPLIT = files("train/a/1.png", "train/a/2.png", "train/b/1.png", "test/a/1.png", "test/b/2.png")

# name -> (files with split and class as they must be read, parameters)
LAYOUTS = {
    "split and class": (SPLIT, {}),
    "upper-case endings": (files("train/a/1.PNG", "train/b/2.Jpg", "test/b/3.JPEG", "test/a/4.BMP"), {}),
    "other formats": (files("train/a/1.webp", "train/b/2.tif", "test/b/3.gif", "test/a/4.ppm"), {}),
    "other names of splits": (
        {"Training/a/1.png": ("train", "a"), "Valid_set/b/1.png": ("dev", "b"), "TEST/b/1.png": ("test", "b")},
        {},
    ),
    "a folder around": ({f"faces v2/{path}": place for path, place in SPLIT.items()}, {}),
    "a folder between": (
        {path.replace("/", "/images/", 1): place for path, place in SPLIT.items()},
        {},
    ),
    "folders below the class": (
        {path.replace(".png", "/x/9.png"): place for path, place in SPLIT.items()},
        {},
    ),
    "class before split": (
        {"a/train/1.png": ("train", "a"), "b/train/1.png": ("train", "b"), "a/val/1.png": ("dev", "a")},
        {},
    ),
    "Unicode and spaces": (
        {"train/très triste/é è.png": ("train", "très triste"), "train/笑/図 1.png": ("train", "笑")}
        | {"test/笑/図 2.png": ("test", "笑")},
        {},
    ),
    "decomposed Unicode": (
        {"train/tre\u0300s/1.png": ("train", "tr\u00e8s"), "test/tr\u00e8s/2.png": ("test", "tr\u00e8s")}
        | {"train/b/1.png": ("train", "b")},
        {},
    ),
    "numbered classes": (
        {f"train/{n}/1.png": ("train", str(n)) for n in (0, 2, 10)} | {"test/10/2.png": ("test", "10")},
        {},
    ),
    "padded numbers with names": (
        {"train/000/1.png": ("train", "angry"), "train/001/1.png": ("train", "sad"), "test/001/1.png": ("test", "sad")},
        {"classes": {1: "sad", 0: "angry"}},
    ),
    "joined classes": (
        {"train/fear/1.png": ("train", "bad"), "train/anger/1.png": ("train", "bad")}
        | {"train/joy/1.png": ("train", "good"), "test/joy/1.png": ("test", "good")},
        {"classes": {"joy": "good", "fear": "bad", "anger": "bad"}},
    ),
    "a list of classes": (SPLIT, {"classes": ["b", "a"]}),
    "a class without a name": (
        SPLIT | {"train/c/1.png": None},
        {"classes": {"a": "a", "b": "b", "c": None}},
    ),
    "equal stems": (files("train/a/1.png", "train/a/1.jpg", "train/b/1.png", "test/b/1.png"), {}),
    "dots in names": (files("train/a/1.2.png", "train/a/1.3.png", "train/b/x.y.z.png", "test/b/w..png"), {}),
    "given layout": (
        {
            "x/S1/train/a/1.png": ("train", "a"),
            "y/S2/train/b/1.png": ("train", "b"),
            "x/S3/mine/b/1.png": ("mine", "b"),
        },
        {"layout": "*/subject/split/class"},
    ),
    "grey": (SPLIT, {"color": "grey"}),
    "padded, not square": (SPLIT, {"fit": "pad", "size": [10, 14]}),
    "stretched": (SPLIT, {"fit": "stretch"}),
    "only a test split": (files("test/a/1.png", "test/b/2.png"), {}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name, tmp_path):
    expected, params = LAYOUTS[name]
    for path in expected:
        picture(tmp_path / path)
    dataset = build(tmp_path, **params)
    (target,) = dataset.targets
    found = {}
    for split, samples in read_all(dataset).items():
        assert len({sample.key for sample in samples}) == len(samples)
        for sample in samples:
            found[sample.frames.tobytes()] = (split, target.classes[sample.targets["emotion"]])
    kind = {key: params[key] for key in ("color", "fit", "size") if key in params}
    assert found == {
        reference(tmp_path / path, **kind).tobytes(): place for path, place in expected.items() if place is not None
    }
    orders = {"numbered classes": ("0", "2", "10"), "joined classes": ("good", "bad"), "a list of classes": ("b", "a")}
    if name in orders:
        assert target.classes == orders[name]
    if name == "given layout":
        assert {sample.subject for sample in read_all(dataset)["train"]} == {"S1", "S2"}


def test_what_is_no_picture_is_skipped_and_counted(tmp_path):
    for path in ("a/1.png", "b/2.png", ".git/a/3.png", "__MACOSX/a/4.png", "a/._1.png", "b/.hidden.png"):
        picture(tmp_path / path)
    for path in (".DS_Store", "a/Thumbs.db", "a/notes.txt", "b/raw.heic", "b/more.txt"):
        (tmp_path / path).write_bytes(b"x")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    dataset = build(tmp_path)
    assert sorted(key for samples in read_all(dataset).values() for key in [s.key for s in samples]) == ["a/1", "b/2"]
    assert dataset.describe() == {"other files": "it holds 2 x .txt, 1 x .heic"}
    (tmp_path / "a" / "self.png").symlink_to("self.png")
    with pytest.raises(DataError, match=r"a/self\.png"):
        read_all(build(tmp_path))


def test_exif_turns_a_picture(tmp_path):
    upright = Image.fromarray(np.arange(16 * 20 * 3, dtype=np.uint8).reshape(16, 20, 3))
    for number in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = number
        (tmp_path / "train" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        upright.save(tmp_path / "train" / "ab"[number % 2] / f"{number}.png", exif=exif)
    dataset = build(tmp_path / "train", test=0.1)
    found = {s.key.rpartition("/")[2]: s.frames for samples in read_all(dataset).values() for s in samples}
    for number in range(1, 9):
        path = tmp_path / "train" / "ab"[number % 2] / f"{number}.png"
        np.testing.assert_array_equal(found[str(number)], reference(path))


def test_videos_give_evenly_spaced_frames(tmp_path):
    video(tmp_path / "train" / "a" / "long.MP4", range(0, 250, 25))
    video(tmp_path / "train" / "b" / "short.mkv", [0, 200])
    video(tmp_path / "test" / "b" / "x.avi", [100] * 3)
    dataset = build(tmp_path, length=4, size=16)
    assert dataset.clip == ClipSpec(4, 3, 16, 16)
    long, short = read_all(dataset)["train"]
    np.testing.assert_allclose(long.frames.mean(axis=(1, 2, 3)), [0, 75, 150, 225], atol=3)
    np.testing.assert_allclose(short.frames.mean(axis=(1, 2, 3)), [0, 0, 200, 200], atol=3)


def subjects(tmp_path, people=10, each=3):
    for person, number in itertools.product(range(people), range(each)):
        picture(tmp_path / "ab"[number % 2] / f"S{person:02d}_{number}.png", size=(4, 4))
    return tmp_path


def test_a_drawn_test_split_keeps_subjects_together_and_is_the_same_everywhere(tmp_path):
    source = subjects(tmp_path)
    splits = read_all(build(source, subject=r"(S\d+)_", test=0.2, dev=0.1))
    assert list(splits) == ["train", "dev", "test"]
    people = {split: {sample.subject for sample in samples} for split, samples in splits.items()}
    assert people["test"] == {"S01", "S08"}  # the hashes do not depend on the machine
    assert {split: len(names) for split, names in people.items()} == {"train": 7, "dev": 1, "test": 2}
    assert sum(len(samples) for samples in splits.values()) == 30
    single = read_all(build(source))
    assert (len(single["train"]), len(single["test"])) == (24, 6)


def test_folds_test_every_subject_once(tmp_path):
    source = subjects(tmp_path)
    tested = []
    for fold in range(5):
        splits = read_all(build(source, subject=r"S(\d+)", folds=5, fold=fold, dev=0.1))
        groups = {split: {sample.subject for sample in samples} for split, samples in splits.items()}
        assert not groups["test"] & (groups["train"] | groups["dev"])
        assert len(groups["train"] | groups["dev"] | groups["test"]) == 10
        tested += groups["test"]
    assert sorted(tested) == [f"{n:02d}" for n in range(10)]


def test_a_drawn_split_without_a_subject_is_refused(tmp_path):
    source = subjects(tmp_path, people=3)
    for shares, empty in (({"folds": 10, "fold": 9}, "test"), ({"test": 0.9, "dev": 0.05}, "train, dev")):
        message = f"3 subjects, videos or files cannot be divided: none is left for {empty}\n  -> give more data"
        with pytest.raises(DataError, match=message):
            build(source, subject=r"S(\d+)", **shares)
    with pytest.raises(DataError, match="3 subjects, videos or files cannot be divided into 5 folds"):
        build(source, subject=r"S(\d+)", folds=5)


def test_mistakes_name_file_and_remedy(tmp_path):
    for path in ("set/train/a/1.png", "set/train/b/2.png", "set/test/a/3.png"):
        picture(tmp_path / path)
    source = tmp_path / "set"
    cases = [
        ({"classes": {"a": "x"}}, r"`classes` does not name 'b'\n  -> name it: classes: \{b: NAME\}"),
        ({"test": 0.5}, r"the data have a split 'test' already"),
        ({"layout": "split/class/subject"}, r"3\.png: this file lies in 2 folders"),
        ({"subject": r"S(\d+)"}, r"3\.png: the expression for `subject` does not match this path"),
    ]
    for params, message in cases:
        with pytest.raises(DataError, match=message):
            build(source, **params)
    picture(source / "train" / "loose.png")
    with pytest.raises(DataError, match=r"train/loose\.png: this file lies in no class folder"):
        build(source)
    (source / "train" / "loose.png").unlink()
    (source / "train" / "b" / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"train/b/2\.png: the picture cannot be read"):
        read_all(build(source))
    assert [sample.key for sample in read_all(build(source, max_broken=1))["train"]] == ["train/a/1"]
    for path in ("train/A/4.png", "train/b/2.png"):
        picture(source / path)
    with pytest.raises(DataError, match="classes 'A' and 'a' differ only by case"):
        build(source)
    with pytest.raises(DataError, match="no picture or video"):
        build(empty(tmp_path))
    for params, message in (
        ({"folds": 3, "fold": 3}, "fold 3 of 3"),
        ({"folds": 3, "fold": 1, "dev": 0.5}, "`dev: 0.5` does not fit before or after fold 1 of 3"),
        ({"layout": "split/klass"}, "'klass' is none"),
    ):
        with pytest.raises(ValidationError, match=message):
            FoldersParams(source=source, **params)


def empty(folder):
    (folder / "nothing").mkdir()
    (folder / "nothing" / "a.txt").write_text("x")
    return folder / "nothing"


def test_pictures_and_videos_are_two_datasets(tmp_path):
    picture(tmp_path / "a" / "1.png")
    video(tmp_path / "b" / "1.mp4", [0, 1])
    with pytest.raises(DataError, match=r"1 videos \(b/1\.mp4\) among 1 pictures \(a/1\.png\)"):
        build(tmp_path)


def test_a_folder_beside_splits_is_no_class(tmp_path):
    for path in ("train/a/1.png", "test/b/2.png", "unlabelled/x/3.png"):
        picture(tmp_path / path)
    with pytest.raises(DataError, match="'test' is a split, and 'unlabelled' beside it is none\n  -> move this folder"):
        build(tmp_path)
    vehicles = tmp_path / "vehicles"
    for path in ("car/1.png", "train/2.png", "bus/3.png"):
        picture(vehicles / path)
    assert build(vehicles, test=0.4).targets[0].classes == ("bus", "car", "train")


def test_changes_behind_a_link_to_a_folder_change_the_digest(tmp_path):
    def digest():
        return dataset_digest("folders", FoldersParams(source=tmp_path / "links"), "1", 0)

    (tmp_path / "links").mkdir()
    for name in "ab":
        picture(tmp_path / "store" / name / "0.png")
        (tmp_path / "links" / name).symlink_to(tmp_path / "store" / name)
    (tmp_path / "store" / "a" / "loop").symlink_to(tmp_path / "store")
    before = digest()
    assert digest() == before
    picture(tmp_path / "store" / "b" / "1.png")
    assert digest() != before
