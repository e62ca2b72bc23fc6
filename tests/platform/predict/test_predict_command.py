"""`blear predict` on videos and pictures, with a run of a few training steps."""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from timeline_run import FPS, FRAMES, SIDE

import blear
from blear.cli import cli
from blear.errors import BlearError
from blear.imaging import Framing
from blear.models.calibration import Calibration
from blear.models.load import load
from blear.predict.annotate import annotate_video
from blear.predict.appearance_tracker import AppearanceTracker
from blear.predict.clip_decisions import ClipDecisions
from blear.predict.detectors import BoxFileDetector
from blear.predict.inputs import Input, find_clips, find_inputs, is_video_file, split_model
from blear.predict.options import PredictOptions, open_predictor
from blear.predict.output import read_output
from blear.predict.predictor import FacePredictor
from blear.predict.run import predict_inputs
from blear.video import read_video


@pytest.fixture
def predict(run: Path, video: Path, tmp_path: Path):
    """predict("run" or stage, inputs, options...) with the boxes of the video -> (records, result)."""

    def call(model: str, *arguments: object, boxes: bool = True, out: str = "out.jsonl") -> tuple[list[dict], Result]:
        place = run if model == "run" else run / "stages" / model
        options = ["--margin", 0.5, "--out", tmp_path / out, "--device", "cpu"]
        options += ["--boxes", video.with_name("boxes.csv")] if boxes else []
        command = [str(one) for one in ("predict", place, *(arguments or [video]), *options)]
        result = CliRunner().invoke(cli, command, catch_exceptions=False)
        text = (tmp_path / out).read_text() if out.endswith("jsonl") and (tmp_path / out).is_file() else ""
        return [json.loads(line) for line in text.splitlines()], result

    return call


def test_records_are_those_of_the_timeline_with_further_fields(predict, run: Path, video: Path, tmp_path: Path) -> None:
    records, result = predict("run")
    assert result.exit_code == 0
    out = tmp_path / "timeline.jsonl"
    command = ["timeline", run, video, "--boxes", video.with_name("boxes.csv"), "--out", out, "--margin", 0.5]
    CliRunner().invoke(cli, [str(one) for one in command], catch_exceptions=False)
    published = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(records) == len(published) == 2
    for record, expected in zip(records, published, strict=True):
        probabilities = expected.pop("probabilities")
        assert record["probabilities"] == pytest.approx(probabilities, abs=2e-6)
        assert record["score"] == pytest.approx(expected.pop("score"), abs=2e-6)
        assert expected.items() <= record.items()
        assert record["input"] == str(video)
        assert record["face_px"] == SIDE
        assert record["damaged"] is False
        assert set(record["degradation"]) == {"blur", "blockiness", "noise"}
    facts = json.loads((tmp_path / "out.jsonl.meta.json").read_text())
    assert (facts["framing"]["shape"], facts["framing"]["margin"]) == ("square", 0.5)
    expected = {"frames": 13, "not_decoded": 0, "faces": 2, "codec": "mjpeg", "rate": FPS, "start": 0.0}
    assert facts["inputs"][str(video)] == expected
    assert facts["blear"] == blear.__version__
    assert not list(tmp_path.glob(".*"))


def test_valence_over_time(predict, run: Path, video: Path) -> None:
    records, result = predict("values", video, "--every", 1)
    frames = [frame.image_HWC for frame in read_video(video)]
    model = load(run / "stages" / "values")
    side = 2 * SIDE
    padded = [cv2.copyMakeBorder(frame, side, side, side, side, cv2.BORDER_CONSTANT) for frame in frames]
    top, left = (start + SIDE // 2 - side // 2 + side for start in (10, 40))
    cut = [frame[top : top + side, left : left + side] for frame in padded]
    shown = [number for number in range(FRAMES) if number != 10]  # in frame 10 there is no face
    clips = [np.stack([cut[max(0, number - back)] for back in (3, 2, 1, 0)]) for number in shown]
    expected = model(clips)["valence"].numpy()
    assert [record["frames"] for record in records] == shown
    assert [record["valence"] for record in records] == pytest.approx(expected.tolist(), abs=2e-6)
    assert "class" not in records[0]
    assert f"on average valence {expected.mean():+.2f}" in result.output


@pytest.mark.parametrize("stage", ["clips", "values"])
def test_csv_and_parquet_hold_the_same_as_json_lines(predict, video: Path, tmp_path: Path, stage: str) -> None:
    records, _ = predict(stage)
    predict(stage, out="out.csv")
    predict(stage, out="out.parquet")
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert len(rows) == len(table) == len(records) == 2
    for row, stored, record in zip(rows, table, records, strict=True):
        assert list(row) == list(stored)
        assert float(row["seconds"]) == stored["seconds"] == record["seconds"]
        assert [stored[side] for side in ("left", "top", "right", "bottom")] == record["coordinates"]
        if stage == "values":
            assert float(row["valence"]) == stored["valence"] == record["valence"]
            assert stored["valence_smoothed"] == record["smoothed"]["valence"]
        else:
            assert row["emotion"] == stored["emotion"] == record["class"]
            assert {name: stored[f"emotion_{name}"] for name in record["probabilities"]} == record["probabilities"]


def test_frames_are_chosen_by_rate(predict, video: Path) -> None:
    records, _ = predict("values", video, "--fps", 8)
    assert [record["frames"] for record in records] == [0, 3, 5, 8]  # of 20 per second; 0, 0.125, 0.25, 0.375, 0.5 s


def test_a_broken_input_does_not_stop_the_others(predict, video: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(video, tmp_path / folder / "face.avi")
    (tmp_path / "a" / "notes.mp4").write_text("no video")
    records, result = predict("values", tmp_path / "a", tmp_path / "b", "--crops", boxes=False)
    assert result.exit_code == 1
    assert sorted({record["input"] for record in records}) == [str(tmp_path / name / "face.avi") for name in "ab"]
    assert len(records) == 6  # frames 0, 5, 10 of two videos
    assert f"{tmp_path / 'a' / 'notes.mp4'}: no frame can be decoded" in result.output


def test_the_exit_code_tells_of_broken_inputs(blear, run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    done = blear("predict", run / "stages" / "values", tmp_path / "notes.mp4", "--crops", "--out", tmp_path / "o.csv")
    assert done.returncode == 1
    assert len((tmp_path / "o.csv").read_text().splitlines()) == 2


def test_no_face_is_a_result(predict, video: Path, tmp_path: Path) -> None:
    none = tmp_path / "none.csv"
    none.write_text("time,left,top,width,height\n" + "".join(f"{k / FPS},0,0,0,0\n" for k in range(FRAMES)))
    records, result = predict("values", video, "--boxes", none, boxes=False)
    assert (records, result.exit_code) == ([], 0)
    assert f"{video}: no face in 13 frames" in result.output


def test_faces_of_six_pixels_are_scored(predict, video: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.csv"
    small.write_text("time,left,top,width,height\n" + "".join(f"{k / FPS},60,50,6,6\n" for k in range(FRAMES)))
    records, _ = predict("values", video, "--boxes", small, boxes=False)
    assert [record["face_px"] for record in records] == [6.0, 6.0, 6.0]
    crops = tmp_path / "crops"
    crops.mkdir()
    for number in range(3):
        cv2.imwrite(str(crops / f"{number}.png"), np.full((6, 6, 3), 60 * number, np.uint8))
    records, _ = predict("values", f"{crops}/*.png", "--crops", boxes=False)
    assert [Path(record["input"]).name for record in records] == ["0.png", "1.png", "2.png"]
    assert [record["face_px"] for record in records] == [6.0, 6.0, 6.0]


def test_damaged_videos_are_marked_or_refused(predict, video: Path, tmp_path: Path) -> None:
    content = video.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) * 6 // 10])
    records, result = predict("values", tmp_path / "cut.avi", "--crops", boxes=False)
    assert records
    assert result.exit_code == 0
    (tmp_path / "out.jsonl").unlink()
    records, result = predict("values", tmp_path / "cut.avi", "--crops", "--strict", boxes=False)
    assert (records, result.exit_code) == ([], 1)


def test_no_class_below_the_threshold(predict, video: Path) -> None:
    records, _ = predict("clips", video, "--abstain", 0.99)
    assert [(record["class"], record["abstained"]) for record in records] == [(None, True)] * 2


def test_probabilities_have_the_temperature_of_the_degradation(predict, run: Path, video: Path, tmp_path: Path) -> None:
    raw, _ = predict("clips")
    calibration = Calibration(side=192, constant=0.3, size=0.5, blur=0.2)
    load(run / "stages" / "clips").save(tmp_path / "model", calibration={"emotion": calibration.model_dump()})
    options = ["--margin", "0.5", "--boxes", str(video.with_name("boxes.csv")), "--out", str(tmp_path / "warm.jsonl")]
    CliRunner().invoke(cli, ["predict", str(tmp_path / "model"), str(video), *options], catch_exceptions=False)
    warm = [json.loads(line) for line in (tmp_path / "warm.jsonl").read_text().splitlines()]
    assert len(warm) == len(raw) == 2
    for before, after in zip(raw, warm, strict=True):
        temperature = calibration.temperature(SIDE, before["degradation"])
        assert temperature == pytest.approx(np.exp(0.3 + 0.5 + 0.2 * before["degradation"]["blur"]))  # 192 / 96 px
        expected = np.array(list(before["probabilities"].values())) ** (1 / temperature)
        assert list(after["probabilities"].values()) == pytest.approx((expected / expected.sum()).tolist(), abs=1e-4)
    facts = json.loads((tmp_path / "warm.jsonl.meta.json").read_text())
    assert facts["calibration"]["emotion"]["size"] == 0.5


def test_an_onnx_file_is_a_model(video: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    mean = onnx.helper.make_node("ReduceMean", ["x"], ["valence"], axes=[1, 2, 3], keepdims=0)
    value = onnx.helper.make_tensor_value_info
    shapes = value("x", 1, ["n", 3, 32, 32]), value("valence", 1, ["n"])
    graph = onnx.helper.make_graph([mean], "mean", [shapes[0]], [shapes[1]])
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "mean.onnx")
    command = ["predict", str(tmp_path / "mean.onnx"), str(video), "--crops", "--out", str(tmp_path / "out.jsonl")]
    result = CliRunner().invoke(cli, [*command, "--onnx", "range=-1,1"], catch_exceptions=False)
    assert result.exit_code == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for row, frame in zip(rows, list(read_video(video))[::5], strict=True):
        assert row["valence"] == pytest.approx(frame.image_HWC.mean() / 127.5 - 1, abs=0.02)


def test_an_interrupted_call_is_continued(run: Path, video: Path, tmp_path: Path) -> None:
    inputs = []
    for name in ("a.avi", "b.avi"):
        shutil.copy(video, tmp_path / name)
        inputs.append(Input(tmp_path / name, is_picture=False))
    seen: list[str] = []
    boxes = BoxFileDetector(video.with_name("boxes.csv"))

    def predictor(stop: bool) -> FacePredictor:
        def detect(windows):
            seen.append("call")
            if stop and len(seen) == 2:
                raise KeyboardInterrupt
            return boxes(windows)

        model = load(run / "stages" / "values")
        return FacePredictor(model, detect, AppearanceTracker, Framing(), lambda: lambda frame: True)

    out = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        predict_inputs(predictor(stop=True), inputs, out, {"fps": 1})
    assert not out.exists()
    resumed = predict_inputs(predictor(stop=False), inputs, out, {"fps": 1})
    assert len(seen) == 3  # the first input was not read again
    text = out.read_text()
    whole = predict_inputs(predictor(stop=False), inputs, tmp_path / "whole.jsonl", {"fps": 1})
    assert text == (tmp_path / "whole.jsonl").read_text()
    assert resumed.lines == whole.lines


def test_records_of_other_settings_are_not_continued(run: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / ".out.jsonl.partial").write_text('{"settings": {"fps": 2}}\n{"input_end": "a.avi", "facts": {}}\n')
    boxes, model = BoxFileDetector(video.with_name("boxes.csv")), load(run / "stages" / "values")
    predictor = FacePredictor(model, boxes, AppearanceTracker, Framing(), lambda: lambda frame: frame.number == 0)
    predict_inputs(predictor, [Input(video, is_picture=False)], tmp_path / "out.jsonl", {"fps": 1})
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("kind", ["video", "picture"])
def test_an_input_that_changed_after_an_interruption_is_predicted_again(
    run: Path, video: Path, tmp_path: Path, kind: str
) -> None:
    names = [tmp_path / f"{name}.{'png' if kind == 'picture' else 'avi'}" for name in "ab"]
    small, large = (np.full((side, side, 3), 90, np.uint8) for side in (20, 24))
    for path in names:
        cv2.imwrite(str(path), small) if kind == "picture" else shutil.copy(video, path)
    inputs = [Input(path, is_picture=kind == "picture") for path in names]
    model, seen = load(run / "stages" / "values"), []

    def interrupted() -> AppearanceTracker:
        seen.append("an input begins")
        if len(seen) == 2:
            raise KeyboardInterrupt
        return AppearanceTracker()

    predictor = FacePredictor(model, BoxFileDetector(video.with_name("boxes.csv")), interrupted, None, _every_frame)
    with pytest.raises(KeyboardInterrupt):
        predict_inputs(predictor, inputs, tmp_path / "out.jsonl", {})
    if kind == "picture":
        cv2.imwrite(str(names[0]), large)
    else:
        with av.open(str(names[0]), "w") as target:
            stream = target.add_stream("mjpeg", rate=FPS)
            stream.width, stream.height, stream.pix_fmt = 24, 24, "yuvj420p"
            target.mux([*stream.encode(av.VideoFrame.from_ndarray(large, "rgb24")), *stream.encode()])
    predict_inputs(predictor, inputs, tmp_path / "out.jsonl", {})
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["face_px"] for row in rows if row["input"] == str(names[0])] == [24.0]
    assert [row["input"] for row in rows] == [str(names[0])] + [str(names[1])] * (1 if kind == "picture" else FRAMES)


def _every_frame():
    return lambda frame: True


def test_settings_state_the_content_of_files_and_strict(run: Path, video: Path, tmp_path: Path) -> None:
    """An interrupted prediction with other boxes, tracks or facts is not continued."""
    boxes, tracks = tmp_path / "boxes.csv", tmp_path / "tracks"
    shutil.copy(video.with_name("boxes.csv"), boxes)
    tracks.mkdir()
    (tracks / "1.json").write_text("[]")
    plain = PredictOptions(str(run / "stages" / "values"), boxes=boxes, tracks=tracks, margin=0.5, device="cpu")
    table = replace(plain, boxes=None, locator="faces/boxes", locator_params=(f"file={boxes}",))
    seen = []
    for _ in range(2):
        for options in (plain, replace(plain, strict=True), table):
            seen.append(json.dumps(open_predictor(options, 5)[1], sort_keys=True))
        assert len(set(seen)) == len(seen)
        boxes.write_text(boxes.read_text() + "99,0,0,0,0\n")
    before = open_predictor(plain, 5)[1]
    (tracks / "2.json").write_text("[]")
    assert open_predictor(plain, 5)[1] != before
    bare = open_predictor(replace(plain, boxes=None, tracks=None, crops=True), 5)[1]
    assert not {"strict", "facts", "files_sha256"} & set(bare)  # as in journals of older versions


def test_a_video_without_a_frame_and_a_name_that_is_no_utf8_do_not_stop_the_others(
    predict, video: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    with av.open(str(tmp_path / "whole.mp4"), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        target.mux([*stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))), *stream.encode()])
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "in" / "a.mp4").write_bytes(whole[: whole.index(b"mdat") + 4])  # the index is there, and states frames
    strange = tmp_path / "in" / os.fsdecode(b"caf\xe9.avi")
    shutil.copy(video, strange)
    shutil.copy(video, tmp_path / "in" / "z.avi")
    names = [str(tmp_path / "in" / name) for name in ("a.mp4", "caf\\udce9.avi", "z.avi")]
    records, result = predict("clips", tmp_path / "in", "--crops", boxes=False)
    assert result.exit_code == 1
    assert {record["input"] for record in records} == set(names[1:])
    facts = json.loads((tmp_path / "out.jsonl.meta.json").read_text())["inputs"]
    assert [facts[name].get("error") for name in names] == ["no frame can be decoded", None, None]
    ClipDecisions(tmp_path, [Input(strange, is_picture=False)], "emotion", ("a", "b")).write([], names[1:2])
    assert (tmp_path / "clips.csv").read_text().splitlines()[1].startswith("caf\\udce9,")
    assert (tmp_path / f"{strange.stem}.txt").is_file()
    for suffix in ("csv", "parquet"):
        predict("clips", tmp_path / "in", "--crops", boxes=False, out=f"out.{suffix}")
        labels = {"emotion": list(records[0]["probabilities"])}
        rows = read_output(tmp_path / f"out.{suffix}", ["emotion"], labels)
        assert sorted({row["input"] for row in rows}) == names[1:]


def test_annotated_video_and_plots(predict, video: Path, tmp_path: Path) -> None:
    talking = tmp_path / "talking.mp4"
    with av.open(str(talking), "w") as target:
        stream = target.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 180, 120, "yuv420p"
        sound = target.add_stream("aac", rate=16_000)
        for frame in read_video(video):
            picture = av.VideoFrame.from_ndarray(frame.image_HWC, "rgb24")
            picture.pts, picture.time_base = frame.number, Fraction(1, FPS)
            target.mux(stream.encode(picture))
        tone = av.AudioFrame.from_ndarray(np.sin(np.arange(9600) / 9)[None].astype(np.float32), "flt", "mono")
        tone.rate = 16_000
        for one in (stream.encode(), sound.encode(tone), sound.encode()):
            target.mux(one)
    annotated, plot = tmp_path / "annotated.mp4", tmp_path / "plot.html"
    predict("clips", talking, "--annotate", annotated, "--plot", plot)
    shown = list(read_video(annotated))
    assert [frame.seconds for frame in shown] == pytest.approx([k / FPS for k in range(FRAMES)], abs=1e-3)
    original = next(read_video(talking)).image_HWC.astype(int)
    changed = np.abs(shown[0].image_HWC - original).max(axis=-1) > 60
    assert changed[10, 45:130].mean() > 0.9  # the upper border of the box
    assert changed[40:60, 60:100].mean() < 0.05
    with av.open(str(annotated)) as kept, av.open(str(talking)) as source:
        assert [bytes(p) for p in kept.demux(audio=0)] == [bytes(p) for p in source.demux(audio=0)]
    assert plot.read_text().count("data:image/png;base64,") == 1
    predict("clips", talking, "--annotate", annotated, "--plot")  # replaces its own file; the plot beside the output
    assert sorted(path.name for path in tmp_path.glob("*.html")) == ["out.html", "plot.html"]
    predict("clips", talking, "--plot", "--annotate")
    (tmp_path / "out.mp4").write_bytes(b"")  # as of `mktemp`
    predict("clips", talking, "--plot", "--annotate")
    assert len(list(read_video(tmp_path / "out.mp4"))) == FRAMES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--annotate", "other.mp4"], r"other\.mp4: is a file that blear has not annotated"),
        (["--annotate", "clip.mp4"], r"clip\.mp4: is a file that blear has not annotated"),
        (["--annotate", "new.avi"], r"new\.avi: the suffix '\.avi' cannot be written"),
        (["--plot", "clip.mp4"], r"clip\.mp4: the suffix '\.mp4' cannot be written"),
        (["--out", "clip.csv"], r"clip\.csv: is an input"),
        (["--boxes", "b.csv", "--out", "b.csv"], r"b\.csv: is an input"),
        (["--boxes", "clips.csv", "--clips", "."], r"clips\.csv: is an input"),
        (["--locator", "faces/boxes", "--locator-set", "file=b.csv", "--out", "b.csv"], r"b\.csv: is an input"),
        (["other.mp4", "--boxes", "b.csv"], "the boxes are of one video, but there are 2 inputs"),
        (["other.mp4", "--tracks", "b.csv"], "the tracks are of one video, but there are 2 inputs"),
        (["other.mp4", "--locator", "boxes", "--locator-set", "file=b.csv"], "its table is of one video, but there"),
        (["other.mp4", "--annotate"], "one video file can be annotated at a time"),
    ],
)
def test_outputs_are_checked_before_anything_is_predicted(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("clip.mp4", "clip.csv", "other.mp4"):
        shutil.copy(video, name)
    for name in ("b.csv", "clips.csv"):
        shutil.copy(video.with_name("boxes.csv"), name)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    given = "clip.csv" if "clip.csv" in arguments else "clip.mp4"
    with pytest.raises(BlearError, match=message):
        CliRunner().invoke(cli, ["predict", "robust-faces", given, *arguments], catch_exceptions=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_only_video_files_are_annotated(tmp_path: Path) -> None:
    """A file in object storage has the path of a file here, and a folder of cut faces is no video."""
    file = Input(tmp_path / "clip.mp4", is_picture=False)
    assert is_video_file(file)
    for other in (
        replace(file, given="s3://bucket/clip.mp4"),
        replace(file, is_folder=True),
        replace(file, is_picture=True),
        replace(file, address="rtsp://host/clip.mp4"),
    ):
        assert not is_video_file(other)


def recording(path: Path) -> Path:
    """Eight frames and sound of the same length in MPEG-TS."""
    with av.open(str(path), "w", format="mpegts") as target:
        stream, sound = target.add_stream("mpeg2video", rate=25), target.add_stream("aac", rate=16_000)
        stream.width, stream.height, stream.pix_fmt, sound.layout = 64, 48, "yuv420p", "mono"
        for number in range(8):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8), "rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 640), np.float32), "fltp", "mono")
            tone.sample_rate, tone.pts = 16_000, 640 * number
            target.mux([*stream.encode(picture), *sound.encode(tone)])
        target.mux([*stream.encode(), *sound.encode()])
    return path


def test_joined_recordings_and_equal_times_are_annotated(tmp_path: Path) -> None:
    """Time stamps go back where the second recording begins; three frames of a WebP file have the same time."""
    joined, webp, out = tmp_path / "joined.ts", tmp_path / "still.webp", tmp_path / "out.mp4"
    joined.write_bytes(recording(tmp_path / "1.ts").read_bytes() + recording(tmp_path / "2.ts").read_bytes())
    annotate_video(joined, [], [], {}, out)
    shown = [frame.seconds for frame in read_video(out)]
    assert shown == pytest.approx([frame.seconds for frame in read_video(joined)], abs=1e-3)
    assert len(shown) == 16
    with av.open(str(out)) as kept, av.open(str(joined)) as source:
        packets = [one for one in kept.demux(audio=0) if one.dts is not None]
        assert len(packets) == sum(one.dts is not None for one in source.demux(audio=0))
    times = [float(one.dts * one.time_base) for one in packets]
    assert np.diff(times) == pytest.approx([0.064] * (len(times) - 1), abs=1e-3)
    pictures = [Image.new("RGB", (32, 20), (40 * number, 0, 0)) for number in range(5)]
    pictures[0].save(webp, save_all=True, append_images=pictures[1:], duration=[40, 0, 0, 40, 40])
    annotate_video(webp, [], [], {}, out)
    assert len(list(read_video(out))) == 5


@pytest.mark.parametrize("size", [(1, 1), (16_386, 2)])
def test_a_video_that_cannot_be_encoded_is_one_message(tmp_path: Path, size: tuple[int, int]) -> None:
    pictures = [Image.new("RGB", size, (40 * number, 0, 0)) for number in range(2)]
    pictures[0].save(tmp_path / "odd.gif", save_all=True, append_images=pictures[1:], duration=40)
    with pytest.raises(BlearError, match=r"odd\.gif: cannot be annotated: "):
        annotate_video(tmp_path / "odd.gif", [], [], {}, tmp_path / "out.mp4")
    assert not list(tmp_path.glob("*.mp4"))


def test_the_framing_of_the_model_is_needed(run: Path, video: Path, tmp_path: Path) -> None:
    model = load(run / "stages" / "values").save(tmp_path / "model", framing=None)
    command = ["predict", str(model), str(video), "--out", str(tmp_path / "out.jsonl")]
    with pytest.raises(BlearError, match=r"(?s)does not state how the faces .* cut.*--margin"):
        CliRunner().invoke(cli, command, catch_exceptions=False)


def test_inputs_are_files_folders_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one.mp4", "two.MKV", "x/three.webm", "x/four.jpg", "x/.hidden.mp4", "x/notes.txt", "strange.bin"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"")
    assert [one.name for one in find_inputs(["x", "*.mp4", "strange.bin", "one.mp4"])] == [
        "x/four.jpg",
        "x/three.webm",
        "one.mp4",
        "strange.bin",
    ]
    assert [one.is_picture for one in find_inputs(["x"])] == [True, False]
    with pytest.raises(BlearError, match="has no video and no picture"):
        find_inputs(["*.avi"])


def test_inputs_and_clips_lie_in_linked_folders_too(tmp_path: Path) -> None:
    for name in ("far/one.mp4", "far/clip/1.png", "given/two.mp4", "given/own/.thumbnails/1.png", "given/own/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    given = tmp_path / "given"
    (given / "link").symlink_to(tmp_path / "far")
    (given / "link" / "back").symlink_to(given)
    (given / "gone.mp4").symlink_to("nothing")
    inputs = [str(one.path.relative_to(given)) for one in find_inputs([str(given)])]
    assert inputs == ["gone.mp4", "link/clip/1.png", "link/one.mp4", "own/1.png", "two.mp4"]
    assert [str(one.path.relative_to(given)) for one in find_clips([str(given)])] == ["link/clip", "own"]


def test_the_shipped_model_is_used_where_none_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("faces").mkdir()
    shipped = "robust/robust-faces"
    for first in ("clip.mp4", "face.JPG", "-", "camera:0", "rtsp://host/path", "clips/*", "faces"):
        assert split_model([first, "other.mp4"]) == (shipped, [first, "other.mp4"]), first
    for named in (
        str(run),
        str(run / "stages" / "pairs"),
        "robust-faces",
        "weights.safetensors",
        "net.onnx",
        "unknown",
    ):
        assert split_model([named, "clip.mp4"]) == (named, ["clip.mp4"]), named
    with pytest.raises(BlearError, match=r"(?s)no input is given.*after the model"):
        split_model(["robust-faces"])


def test_one_decision_for_each_folder_of_cut_faces(predict, run: Path, video: Path, tmp_path: Path) -> None:
    """Clips without labels: the score of a class is the sum of its probabilities over the faces."""
    frames = [cv2.resize(frame.image_HWC[10:106, 40:136], (32, 32)) for frame in read_video(video)]
    for name, first, count in (("000001", 0, 3), ("000002", 4, 2)):
        (tmp_path / "Test" / name).mkdir(parents=True)
        for number in range(count):
            picture = np.ascontiguousarray(frames[first + number][..., ::-1])
            cv2.imwrite(str(tmp_path / "Test" / name / f"{number:05d}.png"), picture)
    (tmp_path / "Test" / "000003").mkdir()  # no face
    out, words = (
        tmp_path / "submission",
        [f"{name.title()}!" for name in load(run / "stages" / "pairs").labels["emotion"]],
    )
    options = ("--crops", "--clips", out, "--words", ",".join(words))
    _, result = predict("pairs", tmp_path / "Test", *options, boxes=False)
    assert result.exit_code == 0, result.output
    model = load(run / "stages" / "pairs")
    scores = []
    for first, count in ((0, 3), (4, 2)):
        shown = frames[first : first + count]
        pairs = np.stack([np.stack([shown[max(k - 1, 0)], shown[k]]) for k in range(count)])
        scores.append(model(pairs)["emotion"].double().numpy().sum(axis=0))
    scores.append(np.zeros(7))
    decided = [score.argmax() for score in (*scores[:2], scores[0] + scores[1])]
    with (out / "clips.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["clip", "emotion", "faces", *words]
    assert [row[:3] for row in rows[1:]] == [
        [f"00000{k + 1}", words[top], faces] for k, (top, faces) in enumerate(zip(decided, "320", strict=True))
    ]
    assert np.array([row[3:] for row in rows[1:]], float) == pytest.approx(np.stack(scores), abs=1e-5)
    assert [(out / f"00000{k + 1}.txt").read_text() for k in range(3)] == [f"{words[top]}\n" for top in decided]


def test_folders_of_webp_and_of_several_sizes_are_clips(predict, tmp_path: Path) -> None:
    for name, suffix, sides in (("a", "webp", (20, 20)), ("b", "png", (20, 24)), ("c", "tif", (20, 20))):
        (tmp_path / "in" / name).mkdir(parents=True)
        for number, side in enumerate(sides):
            Image.new("RGB", (20, side), (90, 60, 30)).save(tmp_path / "in" / name / f"{number}.{suffix}")
    out = tmp_path / "decided"
    records, result = predict("pairs", tmp_path / "in", "--crops", "--every", 1, "--clips", out, boxes=False)
    assert result.exit_code == 1
    assert f"{tmp_path / 'in' / 'c'}: has files, but no picture" in result.output
    assert [Path(record["input"]).name for record in records] == ["a", "a", "b", "b"]
    assert [record["coordinates"][2:] for record in records] == [[20, 20]] * 3 + [[20, 24]]
    rows = list(csv.DictReader((out / "clips.csv").read_text().splitlines()))
    assert [(row["clip"], row["faces"]) for row in rows] == [("a", "2"), ("b", "2")]


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("pairs", ["--words", "a,b"], "there are 2 words, but 7 classes"),
        ("values", [], "the model has no class target"),
        ("pairs", ["twin"], "two inputs are called face"),
    ],
)
def test_decisions_that_cannot_be_written(predict, video: Path, tmp_path: Path, model, options, message) -> None:
    inputs = [video]
    if options == ["twin"]:
        (tmp_path / "twin").mkdir()
        inputs, options = [video, shutil.copy(video, tmp_path / "twin")], []
    with pytest.raises(BlearError, match=message):
        predict(model, *inputs, "--clips", tmp_path / "out", *options, boxes=False)
