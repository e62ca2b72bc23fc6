"""The AVEC 2016 reader on the original layout: usable frames, face pixels, invalid data."""

import math
import re

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from vlqr_avec_tree import BOXES, FRAMES, HEIGHT, KEPT, WIDTH, arousal, valence, write_text

from blear.contracts import BuildContext, ClipSpec, Dataset
from blear.errors import DataError
from blear_vlqr.avec import Avec2016
from blear_vlqr.avec_files import nearest_rows
from blear_vlqr.params import Avec2016Params

BBOX = "bbox/train_1.csv"
TIME = "recordings_video_frame_time/train_1.csv"
GOLD = "ratings_gold_standard/valence/train_1.arff"


def build(root, **params):
    return Avec2016(Avec2016Params(source=root, **params), BuildContext())


def read(root, part="train_1", split="train", **params):
    return list(build(root, **params).samples(split, part))


def rewrite(path, change):
    lines = path.read_text().splitlines()
    write_text(path, change(lines))


def refusal(action, *words):
    with pytest.raises(DataError) as caught:
        action()
    text = str(caught.value)
    for word in words:
        assert str(word) in text
    assert caught.value.do
    return text


def test_splits_parts_and_clip(avec_original):
    dataset = build(avec_original, size=48, target=["valence", "arousal"])
    assert isinstance(dataset, Dataset)
    assert tuple(dataset.splits) == ("train", "dev")
    assert dataset.parts("train") == ("train_1", "train_2", "train_10")
    assert dataset.parts("dev") == ("dev_1",)
    assert dataset.clip == ClipSpec(1, 1, 48, 48)
    assert [(t.name, t.kind, t.bounds) for t in dataset.targets] == [
        ("valence", "value", (-1.0, 1.0)),
        ("arousal", "value", (-1.0, 1.0)),
    ]


def test_usable_frames_and_their_labels(avec_original):
    samples = read(avec_original, target=["valence", "arousal"])
    assert [s.key for s in samples] == [f"train_1/{k:06d}" for k in KEPT]
    assert all(re.fullmatch(r"[A-Za-z0-9_/-]+", s.key) for s in samples)
    assert [s.targets for s in samples] == [{"valence": valence(k), "arousal": arousal(k)} for k in KEPT]
    assert [s.time for s in samples] == pytest.approx([0.04 * k for k in KEPT])
    assert [s.meta["face_px"] for s in samples] == [100.5, 110, 130, 110, 101, 130]
    assert {(s.subject, s.video) for s in samples} == {("train_1", "train_1")}


def test_min_box_is_a_strict_bound_on_both_sides(avec_original):
    keys = [int(s.key[-6:]) for s in read(avec_original, min_box=110)]
    assert keys == [5, 11]
    assert [int(s.key[-6:]) for s in read(avec_original, min_box=0)] == [1, 2, 3, 4, 5, 6, 8, 10, 11]


def reference_face(frame_bgr, box, size):
    """The published crop, written out: 1-based inclusive rows and columns, clipped to the frame."""
    left, top, width, height = box
    r0, r1 = max(math.ceil(top), 1), min(math.ceil(top + height - 1), HEIGHT)
    c0, c1 = max(math.ceil(left), 1), min(math.ceil(left + width - 1), WIDTH)
    b, g, r = np.moveaxis(frame_bgr[r0 - 1 : r1, c0 - 1 : c1].astype(np.float64), -1, 0)
    luma = np.floor(16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255 + 0.5) / 255
    x = torch.from_numpy(luma.astype(np.float32))[None, None]
    return torch.nn.functional.interpolate(x, (size, size), mode="bicubic", antialias=True)[0, 0].numpy()


def test_faces_are_the_published_crops(avec_original):
    video = cv2.VideoCapture(str(avec_original / "recordings_video" / "train_1.mp4"))
    frames = [video.read()[1] for _ in range(FRAMES)]
    rounded, exact = read(avec_original), read(avec_original, precision="float")
    for k, small, fine in zip(KEPT, rounded, exact, strict=True):
        expected = reference_face(frames[k], BOXES[k], 96)
        assert fine.frames.shape == (1, 96, 96, 1)
        assert fine.frames.dtype == np.float32
        np.testing.assert_allclose(fine.frames[0, ..., 0], expected, atol=1e-6)
        assert small.frames.dtype == np.uint8
        np.testing.assert_array_equal(small.frames[0, ..., 0], np.rint(expected.clip(0, 1) * 255))


def test_luma_is_studio_range(avec_original):
    samples = read(avec_original, "dev_1", "dev")
    # (250, 240, 245): 16 + (65.481 * 250 + 128.553 * 240 + 24.966 * 245) / 255 = 225.2; full range would be 243.5
    assert [s.frames.min() for s in samples] == pytest.approx([225] * len(KEPT), abs=2)
    assert [s.frames.max() for s in samples] == pytest.approx([225] * len(KEPT), abs=2)


def test_the_same_samples_every_time(avec_original):
    first, second = read(avec_original), read(avec_original)
    assert [s.key for s in first] == [s.key for s in second]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.frames, b.frames)


def test_rows_are_joined_by_nearest_time(avec_original):
    samples = read(avec_original, "train_2")  # video times are 15 ms late
    assert [s.targets["valence"] for s in samples] == [valence(k) for k in KEPT]
    refusal(
        lambda: read(avec_original, "train_2", time_tolerance="exact"),
        "train_2.arff",
        "frame 1 at 0.015 s",
        "12 of 12 frames",
    )
    refusal(lambda: read(avec_original, "train_2", time_tolerance=0.014), "within 0.014 s")
    assert len(read(avec_original, "train_2", time_tolerance=0.015)) == len(KEPT)
    assert len(read(avec_original, time_tolerance="exact")) == len(KEPT)


def test_boxes_in_another_folder_with_columns_in_any_order(avec_copy, tmp_path):
    for path in sorted((avec_copy / "bbox").iterdir()):
        rows = [line.split(",") for line in path.read_text().splitlines()]
        write_text(tmp_path / "boxes" / path.name, [",".join([r[3], "x", *r[:3], r[4]]) for r in rows])
    expected = read(avec_copy)
    (avec_copy / "bbox").rename(avec_copy / "unused")
    for a, b in zip(expected, read(avec_copy, boxes=tmp_path / "boxes"), strict=True):
        assert a.key == b.key
        np.testing.assert_array_equal(a.frames, b.frames)


def test_arff_with_one_leading_column_reads_the_same(avec_copy):
    path = avec_copy / "ratings_gold_standard" / "valence" / "train_1.arff"
    expected = [s.targets for s in read(avec_copy)]
    rewrite(path, lambda lines: [line.split(",", 1)[1] if line.startswith("'") else line for line in lines])
    rewrite(path, lambda lines: ["@DATA " if line == "@data" else line for line in lines])
    assert [s.targets for s in read(avec_copy)] == expected


def test_rows_may_come_in_any_order(avec_copy):
    expected = read(avec_copy)
    rewrite(avec_copy / BBOX, lambda lines: [lines[0], *lines[:0:-1]])
    rewrite(avec_copy / GOLD, lambda lines: [*lines[:9], *lines[15:], *lines[9:15]])
    for a, b in zip(expected, read(avec_copy), strict=True):
        assert (a.key, a.targets, a.meta) == (b.key, b.targets, b.meta)


def test_nearest_rows():
    times, wanted = np.array([0.08, 0.0, 0.04]), np.array([-0.03, 0.01, 0.02, 0.05, 0.1, 0.11])
    assert nearest_rows(times, wanted, 0.02).tolist() == [-1, 1, 1, 2, 0, -1]
    assert nearest_rows(times, wanted, 0.0).tolist() == [-1] * 6
    assert nearest_rows(times, times, 0.0).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "folder",
    ["recordings_video", "recordings_video_frame_time", "ratings_gold_standard/valence", "bbox"],
)
def test_missing_folders_and_files(avec_copy, folder):
    victim = next(p for p in (avec_copy / folder).iterdir() if p.stem == "train_2")
    victim.unlink()
    refusal(lambda: build(avec_copy), victim, "1 files are missing")
    (avec_copy / folder).rename(avec_copy / "gone")
    text = refusal(lambda: build(avec_copy), avec_copy / folder, "no such folder")
    assert ("blear_faces.locate" in text) == (folder == "bbox")


def test_missing_source(tmp_path):
    refusal(lambda: build(tmp_path / "nowhere"), tmp_path / "nowhere", "no such folder")


def test_empty_split(avec_copy):
    for path in sorted(avec_copy.rglob("dev_*")):
        path.unlink()
    refusal(lambda: build(avec_copy), "the split dev is empty", "recordings_video")


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        (BBOX, lambda ls: ["time,left,top,w,h", *ls[1:]], ["train_1.csv:1", "lacks the columns: width, height"]),
        (BBOX, lambda ls: [*ls[:4], "0.12,1,1", *ls[5:]], ["train_1.csv:5", "needs 5 finite numbers"]),
        (BBOX, lambda ls: [*ls[:4], "0.12,1,nan,101,101", *ls[5:]], ["train_1.csv:5", "finite"]),
        (BBOX, lambda ls: ls[:-1], ["bbox/train_1.csv", "frame 12 at 0.44 s", "1 of 12"]),
        (BBOX, lambda ls: ls[:1], ["bbox/train_1.csv", "no rows"]),
        (BBOX, lambda ls: [*ls[:4], "0.12,161,1,101,101", *ls[5:]], ["train_1.csv at 0.12 s", "does not overlap"]),
        (
            BBOX,
            lambda ls: [ls[0], *(f"{row.split(',')[0]},0,0,0,0" for row in ls[1:])],
            ["no usable face in train_1", "0)"],
        ),
        (
            BBOX,
            lambda ls: [ls[0], *(f"{row.split(',')[0]},1,1,120,100" for row in ls[1:])],
            ["no usable face", "t: 100)"],
        ),
        (TIME, lambda ls: [line.split(";")[0] for line in ls], ["train_1.csv:2", "column 2"]),
        (TIME, lambda ls: [*ls[:3], "2;soon", *ls[4:]], ["train_1.csv:4", "soon"]),
        (TIME, lambda ls: [*ls, "12;0.48"], ["bbox/train_1.csv", "frame 13 at 0.48 s"]),
        (TIME, lambda ls: ls[1:], ["train_1.csv:1", "not a header"]),
        (TIME, lambda ls: [ls[0], *ls[3:]], ["train_1.csv:2", "first row is frame 2"]),
        (TIME, lambda ls: [*ls[:4], *ls[5:]], ["train_1.csv:5", "frame 4 follows frame 2"]),
        (TIME, lambda ls: [*ls[:3], ls[4], ls[3], *ls[5:]], ["train_1.csv:5", "0.08 s follows 0.12 s"]),
        (TIME, lambda ls: [*ls[:3], ls[2], *ls[3:]], ["train_1.csv:4", "must increase"]),
        (BBOX, lambda ls: [*ls[:4], '0.12,"' + "1" * 140_000, *ls[5:]], ["train_1.csv:5", "no row of a csv"]),
        (GOLD, lambda ls: [ls[0], *ls[9:]], ["train_1.arff", "@data"]),
        (GOLD, lambda ls: [*ls[:12], *ls[13:]], ["train_1.arff", "frame 4 at 0.12 s", "1 of 12"]),
        (GOLD, lambda ls: [*ls[:12], "'train_1',0.12,?", *ls[13:]], ["train_1.arff:13", "?"]),
        (GOLD, lambda ls: [*ls[:12], "0.12", *ls[13:]], ["train_1.arff:13", "a time and a value"]),
    ],
)
def test_invalid_text_files(avec_copy, file, change, words):
    rewrite(avec_copy / file, change)
    refusal(lambda: read(avec_copy), *words)


def test_error_of_a_video_without_usable_faces_names_the_detector(avec_copy):
    rewrite(avec_copy / BBOX, lambda ls: [ls[0], *(f"{line.split(',')[0]},0,0,0,0" for line in ls[1:])])
    video = avec_copy / "recordings_video" / "train_1.mp4"
    refusal(lambda: read(avec_copy), f"python -m blear_faces.locate {video} --out {avec_copy / BBOX}")


def test_invalid_video_files_are_rejected(avec_copy):
    path = avec_copy / "recordings_video" / "train_1.mp4"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(lambda: read(avec_copy), path, "no frame can be decoded")


def test_video_shorter_than_its_times(avec_copy):
    rewrite(avec_copy / TIME, lambda ls: [*ls, "12;0.48"])
    rewrite(avec_copy / BBOX, lambda ls: [*ls, "0.48,0,0,0,0"])
    refusal(lambda: read(avec_copy), "train_1.mp4", "ends after 12 frames", "13")


@pytest.mark.parametrize("column", ["", "train_1", "0.04"])
def test_column_1_of_frame_times_is_checked_only_where_it_counts_frames(avec_copy, column):
    expected = [sample.key for sample in read(avec_copy)]
    rewrite(avec_copy / TIME, lambda ls: [ls[0], *(f"{column};{line.split(';')[1]}" for line in ls[1:])])
    assert [sample.key for sample in read(avec_copy)] == expected
    rewrite(avec_copy / TIME, lambda ls: [ls[0], *(f"{k};{line.split(';')[1]}" for k, line in enumerate(ls[1:], 1))])
    assert [sample.key for sample in read(avec_copy)] == expected


def test_frame_times_that_end_before_video_and_labels_are_rejected(avec_copy):
    """A few frames without a time are left out; with labels for another second the file of times is cut off."""
    rewrite(avec_copy / TIME, lambda ls: ls[:-2])
    assert [sample.key for sample in read(avec_copy)] == [f"train_1/{k:06d}" for k in KEPT[:-2]]
    rewrite(avec_copy / GOLD, lambda ls: [*ls, "'train_1',1.35,0.1"])
    assert read(avec_copy)
    rewrite(avec_copy / GOLD, lambda ls: [*ls, "'train_1',1.44,0.1"])
    refusal(lambda: read(avec_copy), TIME, "0.36 s", "until 1.44 s", "cut off")


def test_binary_text_files_are_rejected(avec_copy):
    (avec_copy / BBOX).write_bytes(b"\xff\xfe\x00\x81")
    refusal(lambda: read(avec_copy), BBOX, "cannot be read")


@pytest.mark.parametrize(
    "params", [{"target": []}, {"target": ["anger"]}, {"target": ["valence", "valence"]}, {"time_tolerance": -1}]
)
def test_invalid_params_are_rejected(params):
    with pytest.raises(ValidationError):
        Avec2016Params(source="x", **params)


def test_a_scene_has_the_face_at_its_centre(avec_original):
    """With a box of even size inside the frame, the centre of the scene is the face alone, but for its border."""
    scenes, faces = read(avec_original, scene=192), read(avec_original)
    assert build(avec_original, scene=192, frames=2).clip == ClipSpec(2, 1, 192, 192)
    (scene,), (face,) = ([s for s in some if s.key == "train_1/000004"] for some in (scenes, faces))
    centre = scene.frames[0, 48:144, 48:144, 0].astype(int)
    assert np.abs(centre - face.frames[0, ..., 0])[8:-8, 8:-8].mean() < 2
    assert scene.frames.shape == (1, 192, 192, 1)
    assert scene.frames[0, :4, :4].max() == 16  # black outside the frame, in studio range


def test_clips_are_consecutive_usable_frames(avec_original):
    clips = read(avec_original, frames=2, scene=192)
    assert [sample.key for sample in clips] == ["train_1/000003", "train_1/000005", "train_1/000010"]
    alone = {sample.key: sample for sample in read(avec_original)}
    assert [sample.targets for sample in clips] == [alone[f"train_1/{k:06d}"].targets for k in (4, 6, 11)]
    assert [sample.meta["face_px"] for sample in clips] == [
        min(alone[f"train_1/{k:06d}"].meta["face_px"] for k in pair) for pair in ((3, 4), (5, 6), (10, 11))
    ]
    assert {sample.frames.shape for sample in clips} == {(2, 192, 192, 1)}
