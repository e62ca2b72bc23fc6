"""jobs/given_*.yaml: the authors' files, loaded without training, against plain forward passes and formulas."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import published_files as files
import published_networks as plain
import weight_file_bytes
from blear.contracts import BuildContext, ClipSpec, Target
from blear.errors import JobError
from blear.evaluate.arms import evaluate_arms
from blear.evaluate.pool import pool_predictions
from blear.evaluate.predictions import read_predictions
from blear.evaluate.summary import read_summary
from blear.job.reader import dump_job, read_job
from blear.pipeline.data_facts import data_facts
from blear.pipeline.dry_run import dry_run
from blear.pipeline.prepare import prepare_data
from blear.storage.run_folder import RunFolder, write_text
from blear.train.load_stage import require_loaded
from blear.train.loop import train_stage
from blear.train.model import build_recognizer
from blear.train.plan import StagePlan
from blear.train.transfer import load_stage_weights
from blear.train.worker import LocalWorker
from blear_dsn import scores
from blear_emotions.labels import AFEW

WIDTH, WIDER = 1 / 32, 1 / 8
FRIENDS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
PEOPLE = "{train: 1, dev: 3}"
SMALL, MEDIUM = "stages.given.backbone.width=0.03125", "stages.given.backbone.width=0.125"


def tensors(found: files.Tensors | files.Layers) -> plain.Tensors:
    names = found if isinstance(found, dict) else files.named(found)
    return {name: torch.from_numpy(np.array(value)) for name, value in names.items()}


def of_frames(network: Callable) -> Callable:
    """Mean logits of the clips' frames, [B, 7]."""
    return lambda t, x: torch.stack([network(t, clip).mean(0) for clip in x])


def of_clips(network: Callable) -> Callable:
    return lambda t, x: torch.cat([network(t, clip) for clip in x])


def last_two(t: plain.Tensors, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([plain.vtt(t, clip)[-2:].mean(0) for clip in x])


CASES = {
    # job, profile: tensors, writer, clip (T, C, side), reference, overrides
    ("fer", None): (
        *(files.best7164(WIDTH), weight_file_bytes.torch_0_3, (1, 3, 32), of_frames(plain.best7164)),
        [SMALL, "stages.given.backbone.size=[32, 32]"],
    ),
    ("fer", "face_resnet"): (
        *(files.face_resnet(WIDER), weight_file_bytes.torch_0_3, (1, 3, 48), of_frames(plain.face_resnet)),
        [MEDIUM, "stages.given.backbone.size=[48, 48]"],
    ),
    ("fer", "vgg_gru"): (
        *(files.vgg_gru(WIDTH), weight_file_bytes.torch_0_3, (16, 3, 32), of_clips(plain.vgg_gru)),
        [SMALL, "stages.given.backbone.size=[32, 32]"],
    ),
    ("fer", "resnet_gru"): (
        *(files.resnet_gru(WIDER, 32), weight_file_bytes.torch_0_3, (16, 3, 48), of_clips(plain.resnet_gru)),
        [MEDIUM, "stages.given.backbone.size=[48, 48]", "stages.given.head.side=32"],
    ),
    ("dsn", None): (
        *(files.dsn_vgg(WIDTH, 32), weight_file_bytes.caffemodel, (1, 3, 32), of_frames(plain.dsn_vgg)),
        [SMALL, "stages.given.backbone.size=32", "stages.given.head.width=0.03125"],
    ),
    ("dsn", "top_left"): (
        *(files.dsn_vgg(WIDTH, 32), weight_file_bytes.caffemodel, (1, 3, 32)),
        of_frames(lambda t, x: plain.dsn_vgg(t, x, centred=False)),
        [SMALL, "stages.given.backbone.size=32", "stages.given.head.width=0.03125"],
    ),
    ("dsn", "vgg_face"): (
        *(
            files.vgg_face_caffe(WIDTH, "fc8_vgg", 7),
            weight_file_bytes.caffemodel,
            (1, 3, 32),
            of_frames(plain.vgg_face_caffe),
        ),
        [SMALL, "stages.given.backbone.size=[32, 32]"],
    ),
    ("dsn", "resnet"): (
        *(files.dsn_resnet(WIDTH, 64), weight_file_bytes.caffemodel, (1, 3, 64), of_frames(plain.dsn_resnet)),
        [SMALL, "stages.given.backbone.size=64", "stages.given.head.width=0.03125"],
    ),
    ("vtt", None): (files.vtt_resnet18(WIDTH), weight_file_bytes.torch_1_3, (4, 3, 64), last_two, [SMALL]),
    ("vtt", "static"): (
        *(files.vtt_resnet18(WIDTH), weight_file_bytes.torch_1_3, (1, 3, 64)),
        of_frames(lambda t, x: plain.vtt(t, x, shift=False)),
        [SMALL],
    ),
    ("vlqr", None): (
        *(files.vlqr_recogniser(WIDER), weight_file_bytes.caffemodel, (1, 1, 48), of_clips(plain.vlqr)),
        [MEDIUM],
    ),
}


def write(path: Path, found: files.Tensors | files.Layers, how: Callable) -> None:
    how(path, files.caffe_layers(found) if how is weight_file_bytes.caffemodel and isinstance(found, dict) else found)


def given(repository: Path, name: str, profile: str | None, file: Path, *overrides: str) -> tuple:
    source = f"stages.given.start_from.file={file}"
    return read_job(repository / "jobs" / f"given_{name}.yaml", profile=profile, overrides=[source, *overrides])


@pytest.mark.parametrize(("name", "profile"), CASES)
def test_a_given_model_is_the_authors_network(repository: Path, tmp_path: Path, name: str, profile: str | None) -> None:
    found, how, (length, channels, side), reference, overrides = CASES[name, profile]
    file = tmp_path / "given"
    write(file, found, how)
    more = ["stages.given.start_from.format=caffemodel"] if how is weight_file_bytes.caffemodel else []
    job, catalog = given(repository, name, profile, file, *overrides, *more)
    stage = job.stages["given"]
    classes = FRIENDS if name == "vtt" else AFEW.names
    targets = {"emotion": Target("emotion", "class", classes), "valence": Target("valence", "value")}
    context = BuildContext(clip=ClipSpec(length, channels, side, side), targets=targets)
    model = build_recognizer(catalog, stage, "given", context).eval()
    reports = load_stage_weights(model, stage, RunFolder(tmp_path))
    require_loaded(model, reports, "given")
    report = reports[""]
    assert report is not None
    taken = {report.renamed.get(new, new) for new in report.taken}
    assert all(layer.startswith("upsample") for layer in tensors(found).keys() - taken)  # 100 % of the weights
    torch.manual_seed(0)
    x = torch.rand(3, length, channels, side, side)
    with torch.no_grad():
        decoded = model.head.decode(model(x))
        expected = reference(tensors(found), x)
    if name == "vlqr":
        torch.testing.assert_close(decoded["valence"].values_BT[:, 0], expected, rtol=1e-4, atol=1e-5)
        assert expected.std() > 1e-3
    else:
        probabilities = decoded["emotion"].probabilities_BTK[:, 0]
        torch.testing.assert_close(probabilities, expected.softmax(-1), rtol=1e-4, atol=1e-5)
        assert probabilities.std(0).max() > 1e-4  # not constant


def run(job, catalog, root: Path) -> RunFolder:
    folder = RunFolder(root)
    dry_run(job, catalog, data_facts(job, catalog)[0])
    prepared = prepare_data(job, catalog, workers=1)
    train_stage(StagePlan(job, "given", folder, prepared), LocalWorker(torch.device("cpu")))
    write_text(folder.root / "job.yaml", dump_job(job))
    folder.update_info(name=job.name, seed=0)
    evaluate_arms(job, catalog, folder, prepared, torch.device("cpu"))
    return folder


def matlab(truth: np.ndarray, prediction: np.ndarray) -> SimpleNamespace:
    """run_eval.m: mean() divides by n, std() and var() by n - 1."""
    covariance = np.mean((truth - truth.mean()) * (prediction - prediction.mean()))
    both = truth.std(ddof=1) * prediction.std(ddof=1)
    spread = truth.var(ddof=1) + prediction.var(ddof=1) + (truth.mean() - prediction.mean()) ** 2
    rmse = np.sqrt(((prediction - truth) ** 2).sum() / len(truth))
    return SimpleNamespace(ccc=2 * covariance / both * both / spread, cc=covariance / both, rmse=rmse)


def test_vlqr_is_scored_per_video_and_in_total_with_the_divisors_of_the_script(repository, tmp_path, storage) -> None:
    file = tmp_path / "HQ.caffemodel"
    write(file, files.vlqr_recogniser(WIDER), weight_file_bytes.caffemodel)
    small = "{use: faces/procedural, size: 48, color: luma, targets: [valence], per_subject: 8, subjects: %s}"
    changed = [
        MEDIUM,
        f"data.faces.stand_in={small % PEOPLE}",
        "evaluate.sweep.over={factor: [1, 4]}",
        "evaluate.resamples=10",
    ]
    job, catalog = given(repository, "vlqr", None, file, *changed, "evaluate.faces=0")
    folder = run(job, catalog, tmp_path / "run")
    table = read_predictions(folder.root / "predictions.parquet").to_pandas()
    summary = read_summary(folder.root / "summary.json")
    assert len(set(table["video"])) >= 3
    for level, rows in table.groupby("severity"):
        expected = matlab(rows["truth"].to_numpy(np.float64), rows["prediction"].to_numpy(np.float64))
        for metric in ("ccc", "cc", "rmse"):
            found = summary.estimate("given", rows["condition"].iloc[0], level, metric)
            assert found.value == pytest.approx(getattr(expected, metric), rel=1e-6)
        for video, part in rows.groupby("video"):
            own = matlab(part["truth"].to_numpy(np.float64), part["prediction"].to_numpy(np.float64))
            (cut,) = [s for s in summary.slices if (s.group, s.severity) == (video, level)]
            assert (cut.column, cut.metric, cut.n) == ("video", "ccc", len(part))
            assert cut.value == pytest.approx(own.ccc, rel=1e-5)


def test_fer_averages_the_logits_of_windows_of_16_frames(repository, tmp_path, storage) -> None:
    import blear

    file = tmp_path / "model_119.pkl"
    found = files.vgg_gru(WIDTH)
    write(file, found, weight_file_bytes.torch_0_3)
    small = "{use: faces/procedural, size: 32, frames: 33, targets: [emotion], per_subject: 2, subjects: %s}"
    changed = [SMALL, "stages.given.backbone.size=[32, 32]", f"data.clips.stand_in={small % PEOPLE}"]
    changed += ["evaluate.sweep.over={factor: [1]}", "evaluate.resamples=10", "evaluate.faces=0"]
    job, catalog = given(repository, "fer", "vgg_gru", file, *changed)
    folder = run(job, catalog, tmp_path / "run")
    rows = read_predictions(folder.root / "predictions.parquet")
    pooled = pool_predictions(rows, "sample", "mean_logits").to_pandas()
    data = blear.Dataset(prepare_data(job, catalog, workers=1)["clips"], "dev")
    assert len(pooled) == len(data) == rows.num_rows / 3  # windows from the frames 0, 8, 16; one frame is left
    for number in range(len(data)):
        clip = data[number][0]
        windows = [plain.vgg_gru(tensors(found), clip[start : start + 16]) for start in (0, 8, 16)]
        expected = torch.cat(windows).mean(0).softmax(-1).detach().numpy()
        row = next(r for r in pooled["probabilities"] if np.allclose(r, expected, atol=1e-4))
        np.testing.assert_allclose(row, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("profile", [None, "vgg_face"])
def test_dsn_writes_the_score_files_of_its_scripts(
    repository, tmp_path, storage, monkeypatch, capsys, profile: str | None
) -> None:
    """The probabilities are of the centres of the faces, 32 of 36 pixels here, in both networks."""
    rng, faces = np.random.default_rng(0), tmp_path / "faces"
    clips = {"Val_AFEW/Sad/b": 3, "Val_AFEW/Angry/a": 1, "Val_AFEW/Happy/none": 0}
    pictures = {name: rng.integers(0, 256, (count, 36, 36, 3), np.uint8) for name, count in clips.items()}
    for name, frames in pictures.items():
        (faces / name).mkdir(parents=True)
        for number, picture in enumerate(frames):
            Image.fromarray(picture).save(faces / name / f"{number}.png")
    (faces / "Val_AFEW.txt").write_text("".join(f"{name} {n}\n" for n, name in enumerate(clips)))
    file = tmp_path / "dsn_vgg_iter_30000.caffemodel"
    found = files.dsn_vgg(WIDTH, 32) if profile is None else files.vgg_face_caffe(WIDTH, "fc8_vgg", 7)
    network = plain.dsn_vgg if profile is None else plain.vgg_face_caffe
    write(file, found, weight_file_bytes.caffemodel)
    changed = [f"data.clips.source={faces}", "data.clips.size=36", SMALL]
    changed += ["evaluate.sweep.over={factor: [1]}", "evaluate.resamples=10"]
    if profile is None:
        changed += ["stages.given.backbone.size=32", "stages.given.head.width=0.03125"]
    else:
        changed += ["stages.given.backbone.size=[32, 32]", "stages.given.augment.0.size=32"]
    job, catalog = given(repository, "dsn", profile, file, *changed, "evaluate.faces=0")
    folder = run(job, catalog, tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["scores", str(folder.root)])
    scores.main(standalone_mode=False)
    written = Path(capsys.readouterr().out.splitlines()[-1])
    assert written == folder.root / "scores" / "pred_dev_given_video.txt"
    lines = written.read_text().splitlines()
    assert all(line.endswith(" ") for line in lines)
    sums = np.array([[float(n) for n in line.strip().split(" ")] for line in lines])  # as merge_score.py reads them
    expected = np.zeros((3, 7))
    for clip, frames in enumerate(pictures.values()):
        x = torch.from_numpy(frames).permute(0, 3, 1, 2)[..., 2:34, 2:34] / 255
        expected[clip] = network(tensors(found), x).softmax(-1).sum(0).detach() if len(frames) else 0
    np.testing.assert_allclose(sums, expected, rtol=1e-4, atol=1e-5)
    assert [line.rpartition("/")[2] for line in (written.parent / "clips.txt").read_text().splitlines()] == [
        "b",
        "a",
        "none",
    ]
    assert pq.read_table(folder.root / "predictions.parquet").num_rows == 5


@pytest.mark.parametrize("name", ["vlqr", "fer", "dsn", "vtt"])
def test_without_its_file_the_job_says_what_to_give(repository: Path, name: str) -> None:
    job, catalog = read_job(repository / "jobs" / f"given_{name}.yaml", overrides=[SMALL])
    with pytest.raises(JobError, match=r"no weight file is given.*\n*.*--set stages\.given\.start_from\.file=PATH"):
        dry_run(job, catalog, data_facts(job, catalog)[0])
