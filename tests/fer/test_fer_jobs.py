"""The jobs of the FER-VGG-GRU system: the published recipe as written, and one run from raw files to the report."""

import json

import cv2
import numpy as np
import pytest
from fer_afew_tree import drawn_clips, write_pictures

from blear.job.reader import read_job

NAMES = ("fer_vggface", "fer_vgg_gru", "fer_vgg_lstm", "fer_resnet_gru")


@pytest.fixture
def job(repository):
    return lambda name, **how: read_job(repository / "jobs" / f"{name}.yaml", **how)[0]


@pytest.mark.parametrize("name", NAMES)
def test_jobs_and_their_demos_are_valid_and_executable(job, repository, name):
    assert job(name).name == job(name, profile="demo").name == name
    assert (repository / "jobs" / f"{name}.yaml").stat().st_mode & 0o100


def test_published_recipe_of_the_still_model(job):
    still = job("fer_vggface").stages["still"]
    sgd = still.optimizer
    assert (sgd.use, sgd.lr, sgd.momentum, sgd.nesterov, sgd.weight_decay) == ("sgd", 1e-3, 0.9, True, 5e-4)
    per_epoch = 28_709 // 32
    assert (still.batch_size, still.steps, sgd.drop_every, sgd.drop_by) == (32, 100 * per_epoch, 20 * per_epoch, 0.1)
    assert [use.use for use in still.augment] == [f"corruptions/{n}" for n in ("random_flip", "resize", "random_crop")]
    pooled = job("fer_vggface", profile="published")
    assert pooled.data["faces"].params["protocol"] == "fer_vgg_gru"
    assert pooled.stages["still"].steps == 100 * -(-32_298 // 32)


@pytest.mark.parametrize(("name", "epochs"), [("fer_vgg_gru", 120), ("fer_vgg_lstm", 120), ("fer_resnet_gru", 200)])
def test_published_recipe_of_the_video_models(job, name, epochs):
    found = job(name)
    video = {stage: spec for stage, spec in found.stages.items() if stage != "still"}
    for stage, spec in video.items():
        sgd = spec.optimizer
        rate = 1e-4 if stage.endswith("_fast") else 1e-5
        assert (sgd.lr, sgd.momentum, sgd.weight_decay, sgd.schedule) == (rate, 0.9, 5e-5, "fixed")
        assert (spec.batch_size, spec.steps, spec.frames.take, spec.frames.pick) == (1, epochs * 773, 16, "random")
        assert [use.use.split("/")[1] for use in spec.augment] == ["random_box", "random_flip", "hsv_jitter"]
    evaluate = found.evaluate
    assert (evaluate.windows.length, evaluate.windows.stride) == (16, 8)
    assert (evaluate.pool.by, evaluate.pool.score) == ("sample", "mean_logits")
    assert {arm.stage for arm in evaluate.arms.values()} == set(video)


def raw_fer2013(folder):
    """Sixteen Training and eight PublicTest rows."""
    rng = np.random.default_rng(0)
    lines = ["emotion,pixels,Usage"]
    for row in range(24):
        pixels = " ".join(map(str, rng.integers(0, 256, 48 * 48).tolist()))
        lines.append(f"{row % 7},{pixels},{'Training' if row < 16 else 'PublicTest'}")
    (folder / "fer2013.csv").write_text("\n".join(lines) + "\n")
    return folder / "fer2013.csv"


def raw_afew(folder):
    """Extracted faces of clips of 3, 5 and 9 frames; one validation clip has no face."""
    faces = drawn_clips(4, 9, 48)
    for k, (emotion, length) in enumerate((("Angry", 3), ("Happy", 5), ("Sad", 9), ("Fear", 4))):
        write_pictures(folder / "Train_AFEW" / emotion / f"00000000{k}", faces[k][:length])
        write_pictures(folder / "Val_AFEW" / emotion / f"10000000{k}", faces[-1 - k][: 10 - length])
    (folder / "Val_AFEW" / "Neutral" / "100000009").mkdir(parents=True)
    assert cv2.imread(str(folder / "Train_AFEW/Angry/000000000/images0001.jpg")).shape == (48, 48, 3)
    return folder


def test_the_chain_runs_from_raw_files_to_the_report(blear, storage, repository, tmp_path):
    """FER2013's csv, then clips of AFEW of different lengths, windows of four frames; a clip without a face."""
    settings = {
        "data.faces.source": raw_fer2013(tmp_path),
        "data.clips.source": raw_afew(tmp_path / "afew"),
        "data.clips.faces": "given",
        "data.clips.size": "[48, 48]",
        "data.clips.longest": 9,
        "stages.*.backbone.width": 0.03125,
        "stages.*.steps": 2,
        "stages.*.log_every": 1,
        "stages.still.batch_size": 8,
        "stages.vgg_gru.batch_size": 2,
        "stages.vgg_gru.frames.take": 4,
        "stages.vgg_gru.validate": "{every: 2, batches: 1, metric: accuracy, keep: best}",
        "evaluate.windows": "{length: 4, stride: 2}",
        "evaluate.sweep.over": "{factor: [1, 4]}",
        "evaluate.resamples": 20,
        "evaluate.faces": 2,
    }
    sets = [part for path, value in settings.items() for part in ("--set", f"{path}={value}")]
    done = blear("run", str(repository / "jobs" / "fer_vgg_gru.yaml"), "--profile", "demo", *sets)
    assert done.returncode == 0, done.stderr
    folder = storage / "runs" / "fer_vgg_gru"
    assert (folder / "report.html").is_file()
    taken = json.loads((folder / "stages" / "vgg_gru" / "stage.json").read_text())["transfer"]["taken"]
    assert {name.split(".")[0] for name in taken} == {"features", "fc6"}
    (estimate,) = (
        e
        for e in json.loads((folder / "summary.json").read_text())["estimates"]
        if (e["metric"], e["severity"]) == ("accuracy", 1.0)
    )
    assert (estimate["n"], estimate["missed"]) == (4, 1)
    assert estimate["with_missed"] == pytest.approx(estimate["value"] * 4 / 5)
    assert "missed faces counted as wrong" in done.stderr
