"""The AFEW reader on tiny trees in each raw layout, with real avi files and a real video."""

import logging
import shutil
import types

import av
import cv2
import numpy as np
import pytest
from fer_afew_tree import drawn_clips, on_scene, write_avi, write_pictures

from blear.contracts import BuildContext, ClipSpec, Dataset
from blear.errors import DataError
from blear.imaging import Box
from blear_fer.datasets.afew import Afew
from blear_fer.datasets.afew_faces import with_aspect
from blear_fer.datasets.afew_files import pictures_in
from blear_fer.datasets.params import AfewParams

CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
FOLDERS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def afew(source, **params):
    return Afew(AfewParams(source=source, **params), BuildContext())


def read(dataset, split):
    return [sample for part in dataset.parts(split) for sample in dataset.samples(split, part)]


class GreenBox:
    """Locator with a known result: the pure green square of a frame."""

    def locate(self, frames_THWC):
        return [self._one(frame) for frame in frames_THWC]

    def _one(self, frame):
        rows, columns = np.nonzero((frame[..., 1] > 200) & (frame[..., 0] < 60))
        if not len(rows):
            return None
        width, height = np.ptp(columns) + 1.0, np.ptp(rows) + 1.0
        return types.SimpleNamespace(box=Box(float(columns.min()), float(rows.min()), width, height))


GREEN = f"{__name__}:GreenBox"


@pytest.fixture
def videos(tmp_path):
    """Train: one clip of each class, the third frame without a face; Val: two clips, the second without a face."""
    for number, emotion in enumerate(FOLDERS):
        scene = np.zeros((5, 60, 80, 3), np.uint8)
        for frame in range(5):
            if frame != 2:
                scene[frame, 10:30, 20 + frame : 36 + frame] = (0, 255, 0)
        write_avi(tmp_path / "Train_AFEW" / emotion / f"00213868{number}.avi", scene)
    write_avi(tmp_path / "Val_AFEW" / "Sad" / "010203040.avi", np.tile(np.uint8([0, 255, 0]), (3, 60, 80, 1)))
    write_avi(tmp_path / "Val_AFEW" / "Happy" / "010203041.avi", np.zeros((3, 60, 80, 3), np.uint8))
    return tmp_path


def test_videos_in_class_folders_have_alphabetical_class_indices(videos):
    dataset = afew(videos, locator=GREEN, size=(40, 32))
    assert isinstance(dataset, Dataset)
    assert (dataset.splits, dataset.targets[0].name, dataset.targets[0].classes) == (
        ("train", "dev"),
        "emotion",
        CLASSES,
    )
    assert dataset.clip == ClipSpec(144, 3, 40, 32, shortest=1)
    assert dataset.parts("train") == ["0000-0006"]
    samples = read(dataset, "train")
    assert [(s.key, s.targets["emotion"], s.video) for s in samples] == [
        (f"{name}/00213868{k}", k, f"00213868{k}") for k, name in enumerate(CLASSES)
    ]
    for sample in samples:
        assert sample.frames.shape == (4, 40, 32, 3)  # of five frames one has no face
        assert sample.meta == {"found": 1, "frames": 4, "face_px": pytest.approx(16, abs=2.5)}  # JPEG blurs the border


def test_crop_has_margin_and_aspect_ratio(videos):
    """Box 16 x 20; grown 22.4 x 28; at 40 x 32 its aspect is right: green fills 1 / 1.4 of both sides."""
    (angry, *_) = read(afew(videos, locator=GREEN, size=(40, 32)), "train")
    for frame in angry.frames:
        green = frame[..., 1] > 128
        assert green.any(axis=1).sum() == pytest.approx(40 / 1.4, abs=2)
        assert green.any(axis=0).sum() == pytest.approx(32 / 1.4, abs=2)
        assert abs(np.nonzero(green)[0].mean() - 19.5) < 1.5
        assert abs(np.nonzero(green)[1].mean() - 15.5) < 1.5
    (tight, *_) = read(afew(videos, locator=GREEN, size=(40, 32), margin=0), "train")
    assert (tight.frames[..., 1] > 200).mean() > 0.9


@pytest.mark.parametrize(
    ("box", "ratio", "expected"),
    [
        (Box(10, 20, 30, 60), 1.0, Box(-5, 20, 60, 60)),
        (Box(10, 20, 60, 30), 1.0, Box(10, 5, 60, 60)),
        (Box(0, 0, 96, 96), 112 / 96, Box(0, -8, 96, 112)),
    ],
)
def test_boxes_get_the_aspect_ratio_of_the_input(box, ratio, expected):
    assert with_aspect(box, ratio) == expected


def test_clip_without_a_face_is_black_in_dev_and_left_out_in_training(videos, logged):
    dataset = afew(videos, locator=GREEN, size=(40, 32))
    by_key = {sample.key: sample for sample in read(dataset, "dev")}
    assert {key: sample.meta["found"] for key, sample in by_key.items()} == {"sad/010203040": 1, "happy/010203041": 0}
    blank = by_key["happy/010203041"]
    assert blank.frames.shape == (1, 40, 32, 3)
    assert not blank.frames.any()
    assert blank.meta == {"found": 0, "frames": 0, "face_px": 0.0}
    assert "010203041.avi: no face, the clip is kept as a mistake" in "\n".join(logged())
    write_avi(videos / "Train_AFEW" / "Sad" / "999999999.avi", np.zeros((2, 60, 80, 3), np.uint8))
    assert len(read(afew(videos, locator=GREEN, size=(40, 32)), "train")) == 7
    assert "999999999.avi: no face, the training clip is left out" in "\n".join(logged())


def test_unit_frame_gives_one_sample_per_face(videos):
    dataset = afew(videos, locator=GREEN, size=(40, 32), unit="frame")
    assert dataset.clip == ClipSpec(1, 3, 40, 32)
    samples = [sample for sample in read(dataset, "train") if sample.video == "002138683"]
    assert [sample.key for sample in samples] == [f"happy/002138683/{k:05d}" for k in (0, 1, 3, 4)]
    assert [sample.meta["frame"] for sample in samples] == [0, 1, 3, 4]
    assert all(sample.frames.shape == (1, 40, 32, 3) and sample.targets == {"emotion": 3} for sample in samples)
    whole = next(s for s in read(afew(videos, locator=GREEN, size=(40, 32)), "train") if s.video == "002138683")
    assert np.array_equal(np.concatenate([sample.frames for sample in samples]), whole.frames)
    missing = [sample for sample in read(dataset, "dev") if not sample.meta["found"]]
    assert [(sample.key, sample.video) for sample in missing] == [("happy/010203041/00000", "010203041")]


def test_faces_beyond_longest_are_left_out_and_logged(videos, logged):
    samples = read(afew(videos, locator=GREEN, size=(40, 32), longest=3), "train")
    assert {len(sample.frames) for sample in samples} == {3}
    assert "\n".join(logged()).count("faces after the first 3 are left out") == 7


def test_organisers_aligned_faces(tmp_path):
    faces = drawn_clips(2, 11, 48)
    for split, suffix, name in (("Train_AFEW", "", "000000001"), ("Val_AFEW", "_Val", "000000002")):
        write_avi(tmp_path / split / "Fear" / f"{name}.avi", faces[0][:2])
        folder = tmp_path / split / f"AlignedFaces_LBPTOP_Points{suffix}" / "Faces" / name
        write_pictures(folder, faces[0], "{}.jpg", grey=True)
        (tmp_path / split / f"AlignedFaces_LBPTOP_Points{suffix}" / "LBPTOP").mkdir()
    write_avi(tmp_path / "Val_AFEW" / "Fear" / "000000003.avi", faces[0][:2])  # the organisers found no face
    dataset = afew(tmp_path, faces="aligned", size=(48, 48))
    (sample,) = read(dataset, "train")
    assert sample.frames.shape == (11, 48, 48, 3)
    grey = np.stack([cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in faces[0]])[..., None]
    # in numeric order (2 before 10), and only JPEG between them
    assert np.abs(sample.frames.astype(int) - grey).mean() < 4
    assert {s.key: s.meta["found"] for s in read(dataset, "dev")} == {"fear/000000002": 1, "fear/000000003": 0}


def test_aligned_faces_replace_a_clip_without_detections(videos):
    folder = videos / "Val_AFEW" / "AlignedFaces_LBPTOP_Points_Val" / "Faces" / "010203041"
    write_pictures(folder, drawn_clips(1, 4, 48)[0], "{}.jpg", grey=True)
    found = {s.video: s for s in read(afew(videos, locator=GREEN, size=(40, 32)), "dev")}
    assert found["010203041"].meta == {"found": 1, "frames": 4, "face_px": 48.0}


def test_extracted_faces_of_one_folder_split_by_lists(tmp_path):
    faces = drawn_clips(3, 3, 48)
    root = tmp_path / "Emotiw-faces"
    for emotion, name, clip in zip(("Angry", "Surprise", "Neutral"), ("001", "002", "003"), faces, strict=True):
        write_pictures(root / emotion / name, clip)
    train, val = tmp_path / "train.txt", tmp_path / "val.txt"
    train.write_text("Angry/001 Angry\nSurprise/002 Surprise\n\n")
    val.write_text("Neutral/003 Neutral\n")
    dataset = afew(root, faces="given", lists={"train": train, "dev": val}, size=(48, 48))
    assert [(s.key, s.targets["emotion"], len(s.frames)) for s in read(dataset, "train")] == [
        ("angry/001", 0, 3),
        ("surprise/002", 6, 3),
    ]
    (neutral,) = read(dataset, "dev")
    assert neutral.targets == {"emotion": 4}
    assert np.abs(neutral.frames.astype(int) - faces[2]).mean() < 6


@pytest.fixture(scope="module")
def three_faces():
    return drawn_clips(2, 2, 48)


@pytest.mark.parametrize("faces", ["locate", "given"])
@pytest.mark.parametrize("train", ["Train_AFEW/Emotiw-faces", "Train_AFEW_all/Emotiw-faces", "Emotiw-faces", "."])
def test_extracted_faces_need_no_parameter(tmp_path, three_faces, train, faces):
    """`Emotiw-faces/<Emotion>/<id>/images0001.jpg` with and without Train_AFEW, and as `source` itself."""
    root = tmp_path / "Emotiw-faces" if train == "." else tmp_path
    write_pictures(root / train / "Neutral" / "002138680", three_faces[0])
    write_pictures(root / train / "Sad" / "002138681", three_faces[1])
    if train.startswith("Train"):
        write_pictures(root / "Val_AFEW" / "Emotiw-faces" / "Happy" / "010203040", three_faces[1])
        write_pictures(root / "Train_AFEW" / "AlignedFaces_LBPTOP_Points" / "Faces" / "002138680", three_faces[1])
    dataset = afew(root, size=(48, 48), locator="nowhere:Locator", faces=faces)
    samples = read(dataset, "train")
    assert [(s.key, s.targets["emotion"], s.meta["found"]) for s in samples] == [
        ("neutral/002138680", 4, 1),
        ("sad/002138681", 5, 1),
    ]
    assert np.abs(samples[0].frames.astype(int) - three_faces[0]).mean() < 6
    assert dataset.splits == (("train", "dev") if train.startswith("Train") else ("train",))
    assert dataset.framing is None
    if train.startswith("Train"):
        assert dataset.describe() == {
            "train, clips": "2 of the published 773",
            "dev, clips": "1 of the published 383",
            "extracted faces": "3 clips; no face detection",
        }
    else:
        assert dataset.describe()["missing"] == "Val_AFEW or Emotiw_VAL.txt"


@pytest.mark.parametrize("place", [".", "TrainTestlist/Emotiw"])
@pytest.mark.parametrize("flat", [False, True])
def test_the_lists_of_the_system_are_found_with_paths_of_its_authors(tmp_path, three_faces, place, flat):
    """Their lines are absolute: the longest end below `source` counts. Folders beside the lists are not used."""
    folders = {"train": "Emotiw-faces" if flat else "Train_AFEW_all/Emotiw-faces"}
    folders["dev"] = folders["train"] if flat else "Val_AFEW/Emotiw-faces"
    clips = {"train": "Angry/002138680", "dev": "Surprise/010203040"}
    for split, clip, pixels in zip(clips, clips.values(), three_faces, strict=True):
        write_pictures(tmp_path / folders[split] / clip, pixels)
    write_pictures(tmp_path / folders["dev"] / "Sad" / "999999999", three_faces[0])  # not in the list
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for name, split, listed in (("TRAIN", "train", "Train_AFEW_all"), ("VAL", "dev", "Val_AFEW")):
        path = f"/data/author/Emotiw2018/data/{listed}/Emotiw-faces/{clips[split]}"
        (tmp_path / place / f"Emotiw_{name}.txt").write_text(f"{path} {clips[split].split('/')[0]}\n")
    dataset = afew(tmp_path, size=(48, 48), locator="nowhere:Locator")
    assert [(s.key, s.targets["emotion"]) for s in read(dataset, "train")] == [("angry/002138680", 0)]
    assert [(s.key, s.targets["emotion"]) for s in read(dataset, "dev")] == [("surprise/010203040", 6)]
    (tmp_path / place / "Emotiw_VAL.txt").write_text("/data/author/Val_AFEW/Emotiw-faces/Sad/000000000 Sad\n")
    refused(afew(tmp_path), "Emotiw_VAL.txt:1", "there is no", split="dev")


def test_videos_are_preferred_unless_extracted_faces_are_asked_for(videos, three_faces):
    write_pictures(videos / "Train_AFEW_all" / "Emotiw-faces" / "Sad" / "5", three_faces[0])
    assert len(read(afew(videos, locator=GREEN, size=(40, 32)), "train")) == 7
    assert [sample.key for sample in read(afew(videos, faces="given", size=(40, 32)), "train")] == ["sad/5"]


def test_short_folder_names_and_folders_of_frames(tmp_path):
    write_pictures(tmp_path / "Train" / "Disgust" / "7", drawn_clips(1, 2, 48)[0])
    dataset = afew(tmp_path, faces="given", size=(48, 48))
    assert dataset.splits == ("train",)
    assert [sample.key for sample in read(dataset, "train")] == ["disgust/7"]


def test_pictures_are_sorted_by_the_value_of_their_numbers(tmp_path):
    for name in ("10.jpg", "2.jpg", "images0003.jpg", ".2.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in pictures_in(tmp_path)] == ["2.jpg", "10.jpg", "images0003.jpg"]


def test_unlabelled_test_clips_are_left_out_and_logged(videos, logged):
    write_avi(videos / "Test_AFEW" / "111111111.avi", np.zeros((1, 60, 80, 3), np.uint8))
    assert afew(videos).splits == ("train", "dev")
    assert "Test_AFEW has no labels and is left out" in "\n".join(logged(logging.INFO))
    with pytest.raises(DataError, match="official test set has no labels") as caught:
        afew(videos).parts("test")
    assert caught.value.do == "use one of train, dev"


def refused(dataset, *words, split="train"):
    with pytest.raises(DataError) as caught:
        read(dataset, split)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.do


def test_invalid_files_and_folders_are_rejected(videos, tmp_path):
    refused(afew(tmp_path / "nowhere"), "no such folder", "Train_AFEW")
    (tmp_path / "empty").mkdir()
    refused(afew(tmp_path / "empty"), "no training clips", "`lists`")
    (videos / "Train_AFEW" / "Joy").mkdir()
    refused(afew(videos), "'Joy' is no emotion", "Train_AFEW/Joy")
    shutil.rmtree(videos / "Train_AFEW" / "Joy")
    refused(afew(videos, faces="aligned"), "no aligned faces of the split train", "AlignedFaces_LBPTOP_Points")
    refused(afew(videos, faces="given"), "002138680.avi", "a video, not a folder of faces")
    refused(afew(videos, locator="nowhere:Locator"), "locator 'nowhere:Locator' cannot be used", "module:Class")
    shutil.rmtree(videos / "Val_AFEW")
    refused(afew(videos), "split 'dev' is not there", "Val_AFEW", split="dev")
    refused(afew(videos), "no split is called 'holdout'", split="holdout")
    shutil.copyfile(videos / "Train_AFEW/Angry/002138680.avi", videos / "Train_AFEW/Sad/002138680.avi")
    refused(afew(videos), "there twice", "Angry/002138680.avi", "Sad/002138680.avi")


def test_damaged_files_are_rejected(videos, tmp_path):
    clip = videos / "Train_AFEW" / "Angry" / "002138680.avi"
    whole = clip.read_bytes()
    clip.write_bytes(b"not a video")
    refused(afew(videos, locator=GREEN), "002138680.avi", "no frame can be decoded")
    clip.write_bytes(whole)
    (tmp_path / "list.txt").write_text("Train_AFEW/Angry/002138680.avi Angry\nTrain_AFEW/Sad/1 Sad\n")
    refused(afew(videos, lists={"train": tmp_path / "list.txt"}), "list.txt:2", "there is no")
    (tmp_path / "list.txt").write_text("Angry\n")
    refused(
        afew(videos, lists={"train": tmp_path / "list.txt"}), "list.txt:1", "'Angry' is not a folder and an emotion"
    )
    folder = write_pictures(tmp_path / "Faces" / "Train" / "Sad" / "5", drawn_clips(1, 2, 48)[0])
    (folder / "images0002.jpg").write_bytes(b"\xff\xd8\xff broken")
    refused(afew(tmp_path / "Faces", faces="given"), "images0002.jpg", "cannot be read")


def test_located_faces_of_a_real_video(real_data, tmp_path):
    """MTCNN through the plugin's own locator, frames of a film-like picture: the face fills the crop."""
    clip = real_data / "video" / "mead" / "M003_happy_256.mp4"
    if not clip.is_file():
        pytest.skip(f"no {clip}")
    capture = cv2.VideoCapture(str(clip))
    frames = np.stack([capture.read()[1][..., ::-1] for _ in range(6)])
    write_avi(tmp_path / "Train_AFEW" / "Happy" / "000000001.avi", on_scene(frames, 60, 20, 400, 300))
    (sample,) = read(afew(tmp_path, size=(112, 96)), "train")
    assert sample.frames.shape == (6, 112, 96, 3)
    assert 60 < sample.meta["face_px"] < 220
    assert (sample.frames.std(axis=(1, 2, 3)) > 25).all()  # not the flat grey around it
    steps = np.abs(np.diff(sample.frames.astype(float), axis=0)).mean()
    assert steps < 15  # the crops follow one face


@pytest.mark.parametrize("ending", ["mp4", "MKV"])
def test_videos_in_other_containers_are_clips(videos, ending):
    original = read(afew(videos, locator=GREEN, size=(40, 32)), "train")[0]
    path = videos / "Train_AFEW" / "Angry" / "002138680.avi"
    with av.open(path) as avi, av.open(path.with_suffix(f".{ending}"), "w") as other:
        stream = other.add_stream_from_template(avi.streams.video[0])
        for packet in avi.demux(avi.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                other.mux(packet)
    path.unlink()
    again = read(afew(videos, locator=GREEN, size=(40, 32)), "train")[0]
    assert again.key == original.key
    assert np.array_equal(again.frames, original.frames)


def test_the_description_counts_clips_and_names_a_missing_split(videos):
    counts = {"train, clips": "7 of the published 773", "dev, clips": "2 of the published 383"}
    assert afew(videos).describe() == counts
    shutil.rmtree(videos / "Val_AFEW")
    assert afew(videos).describe() == {
        "train, clips": "7 of the published 773",
        "missing": "Val_AFEW or Emotiw_VAL.txt",
    }
