"""`blear timeline` on a video of procedural faces, with a run of a few training steps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from timeline_run import EMOTIONS, FPS, FRAMES, SIDE

from blear.cli import cli
from blear.errors import BlearError
from blear.predict.model import open_stage
from blear.predict.video import frame_windows
from blear_faces.locate import FaceLocator, locate_video, write_boxes


@pytest.fixture
def timeline(run: Path, video: Path, monkeypatch: pytest.MonkeyPatch):
    """timeline("--every", "5", ...) of the run and the video with its boxes -> (records, what was printed)."""
    monkeypatch.setenv("BLEAR_STORAGE", str(run.parents[1]))

    def call(*options: object) -> tuple[list[dict], str]:
        out = run / "timelines" / "face.jsonl"
        out.unlink(missing_ok=True)
        result = invoke("timeline", run, video, "--boxes", video.with_name("boxes.csv"), "--margin", 0.5, *options)
        return [json.loads(line) for line in out.read_text().splitlines()], result.output

    return call


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


def expected(run: Path, video: Path, frame: int, margin: float = 0.5) -> np.ndarray:
    """Probabilities of a frame, from the pixels on, without the code of the timeline."""
    model = open_stage(run, "clips", None).recognizer
    capture = cv2.VideoCapture(str(video))
    images = [capture.read()[1][..., ::-1] for _ in range(FRAMES)]
    m = margin * 2 * SIDE
    side = int(((SIDE + m) * (SIDE + m)) ** 0.5)
    canvases = []
    for k in (frame - 3, frame - 2, frame - 1, frame):
        padded = np.zeros((120 + 2 * side, 180 + 2 * side, 3), np.uint8)
        padded[side : side + 120, side : side + 180] = images[max(0, k)]
        left, top = 40 + SIDE // 2 - side // 2 + side, 10 + SIDE // 2 - side // 2 + side
        canvases.append(
            cv2.resize(padded[top : top + side, left : left + side], (32, 32), interpolation=cv2.INTER_AREA)
        )
    clip = torch.from_numpy(np.stack(canvases)).permute(0, 3, 1, 2)[None].float() / 255
    with torch.no_grad():
        logits = model(clip)
    return logits[:, -2:].mean(dim=1).softmax(-1)[0].numpy()


def test_every_field_of_every_record(timeline, run: Path, video: Path) -> None:
    records, printed = timeline("--every", 5)
    assert [record["frames"] for record in records] == [0, 5]  # in frame 10 there is no face
    for record in records:
        assert list(record) == [
            "type",
            "class",
            "seconds",
            "frames",
            "coordinates",
            "id",
            "object",
            "score",
            "probabilities",
        ]
        assert record["type"] == "emotion"
        assert record["seconds"] == record["frames"] / FPS
        assert record["coordinates"] == [40, 10, 136, 106]
        assert (record["id"], record["object"]) == (1, "0")
        shares = expected(run, video, record["frames"])
        assert list(record["probabilities"]) == list(EMOTIONS)
        np.testing.assert_allclose(list(record["probabilities"].values()), shares, atol=1e-5)
        assert record["class"] == EMOTIONS[int(shares.argmax())]
        assert record["score"] == pytest.approx(float(shares.max()), abs=1e-5)
    assert "face.jsonl: 2 records (" in printed
    assert "2 of 3 frames with a face" in printed


def test_static_buffer_margin_and_length_change_the_input_of_the_network(timeline, run: Path, video: Path) -> None:
    def shares(*options: object) -> list[float]:
        return list(timeline("--every", 5, *options)[0][1]["probabilities"].values())

    np.testing.assert_allclose(shares("--margin", 0.1), expected(run, video, 5, margin=0.1), atol=1e-5)
    past, static, one = shares(), shares("--static-buffer"), shares("--buffer", 1)
    assert past != static
    np.testing.assert_allclose(static, one, atol=1e-5)  # the temporal shift has no effect on equal frames


def test_the_clip_is_as_long_as_in_training(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLEAR_STORAGE", str(run.parents[1]))
    lengths = {
        (stage, buffer): open_stage(run, stage, buffer).clip.length
        for stage, buffer in ((None, None), ("pairs", None), ("pairs", 5))
    }
    assert lengths == {(None, None): 4, ("pairs", None): 2, ("pairs", 5): 5}


def test_consumer_format_aliases_and_names(timeline, video: Path, tmp_path: Path) -> None:
    plain = timeline("--every", 5)[0]
    records, _ = timeline("--every", 5, "--format", "consumer", *(f"--alias={name}=my {name}" for name in EMOTIONS))
    assert records == [
        {
            "type": "emotion",
            "class": f"my {full['class']}",
            "seconds": full["seconds"],
            "object": {"coordinates": [40, 10, 96, 96]},
            "score": full["score"],
            "id": full["id"],
        }
        for full in plain
    ]
    corners = {"topleft": {"x": 170, "y": 110}, "bottomright": {"x": 30, "y": 0}}
    (tmp_path / "tracks.json").write_text(json.dumps({"5": [{"id": "ross", **corners}]}))
    records, printed = timeline("--format", "consumer", "--tracks", tmp_path / "tracks.json")
    assert [record["object"] for record in records] == [{"id": "person_ross"}]
    assert printed.endswith("1 of 3 frames with a face; 1 faces in no track, left out\n")


def test_mistakes_are_refused(timeline, run: Path, video: Path, tmp_path: Path) -> None:
    boxes = video.with_name("boxes.csv")
    none = tmp_path / "none.csv"
    none.write_text("time,left,top,width,height\n" + "".join(f"{k / FPS},0,0,0,0\n" for k in range(FRAMES)))
    (tmp_path / "empty").mkdir()
    cases = [
        ((tmp_path / "empty", video), "not a run folder"),
        ((run, tmp_path / "none.avi", "--boxes", boxes), "there is no such file"),
        ((run, video, "--stage", "sr"), r"there is no stage 'sr'\n  -> choose one of: values, pairs, clips"),
        ((run, video, "--boxes", boxes, "--stage", "values"), "gives no classes"),
        ((run, video, "--boxes", none), r"face.avi: no face in any of 3 frames"),
        ((run, video, "--boxes", boxes, "--alias", "joy=happy"), "has no class 'joy' to rename"),
        ((run, video, "--locator", "nowhere:Locator"), "'nowhere:Locator' cannot be imported"),
        ((run, video, "--locator", "nowhere"), "there is no locator 'nowhere'"),
    ]
    out = tmp_path / "out.jsonl"
    for arguments, words in cases:
        with pytest.raises(BlearError, match=words):
            invoke("timeline", *arguments, "--out", out)
    assert not out.exists()
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / "stages/clips/model.safetensors").unlink()
    with pytest.raises(BlearError, match=r"this stage has no final weights.*\n.*fetch --weights"):
        invoke("timeline", unfinished, video)
    (unfinished / "stages/clips/stage.json").unlink()
    with pytest.raises(BlearError, match=r"this stage has no final weights.*\n.*run the same command again"):
        invoke("timeline", unfinished, video)
    assert invoke("timeline", run, video, "--alias", "happy").exit_code == 2


def test_a_timeline_of_another_video_is_kept(timeline, run: Path, video: Path, tmp_path: Path) -> None:
    first, _ = timeline("--every", 5)
    other = tmp_path / video.name
    shutil.copy(video, other)
    boxes = ("--boxes", video.with_name("boxes.csv"), "--margin", 0.5, "--every", 3)
    for _ in range(2):
        printed = invoke("timeline", run, other, *boxes).output
        assert printed.startswith(str(run / "timelines" / "face-2.jsonl"))
    assert [json.loads(line) for line in (run / "timelines" / "face.jsonl").read_text().splitlines()] == first


def test_real_video_with_the_real_locator(
    run: Path, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MTCNN detects the face; the boxes equal those that the locator's own command writes."""
    monkeypatch.setenv("BLEAR_STORAGE", str(run.parents[1]))
    clip = real_data / "video" / "mead" / "M003_happy_256.mp4"
    if not clip.is_file():
        pytest.skip(f"no {clip}")
    short = tmp_path / "short.avi"
    writer = None
    for window in frame_windows(clip, 1, 1):
        if window.frame == 7:
            break
        height, width = window.image_HWC.shape[:2]
        writer = writer or cv2.VideoWriter(str(short), cv2.VideoWriter_fourcc(*"MJPG"), 25, (width, height))
        writer.write(np.ascontiguousarray(window.image_HWC[..., ::-1]))
    writer.release()
    out, boxes = tmp_path / "out.jsonl", tmp_path / "boxes.csv"
    invoke("timeline", run, short, "--every", 3, "--out", out, "--locator", "retinaface")
    named = out.read_text()
    invoke("timeline", run, short, "--every", 3, "--out", out)
    assert out.read_text() == named
    invoke("timeline", run, short, "--every", 3, "--out", out, "--locator", "mtcnn")
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(record["frames"], record["seconds"], record["id"]) for record in records] == [
        (0, 0.0, 1),
        (3, 0.12, 1),
        (6, 0.24, 1),
    ]
    table_N5 = locate_video(short, FaceLocator("cpu"), every=3)
    write_boxes(table_N5, boxes)
    for (_, left, top, width, height), record in zip(table_N5, records, strict=True):
        corners = [left - 1, top - 1, left - 1 + width, top - 1 + height]
        np.testing.assert_allclose(record["coordinates"], corners, atol=0.51)
    invoke("timeline", run, short, "--every", 3, "--out", out, "--boxes", boxes)
    assert [json.loads(line)["class"] for line in out.read_text().splitlines()] == [r["class"] for r in records]
