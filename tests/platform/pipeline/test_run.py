"""A whole job with the real command, in tiny sizes: run folder, continuation, resume to the bit, bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from blear.cli import main
from blear.storage.run_states import run_states

pytestmark = pytest.mark.slow

VLQR = ("jobs/vlqr.yaml", "--profile", "tiny")


def weights(run: Path, stage: str) -> dict[str, np.ndarray]:
    return load_file(run / "stages" / stage / "model.safetensors")


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """One finished tiny run of jobs/vlqr.yaml, started as an executable; tests only read it."""
    storage = tmp_path_factory.mktemp("finished")
    environment = os.environ | {"BLEAR_STORAGE": str(storage), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment.pop("RAY_ADDRESS", None)
    command = [str(repository / "jobs" / "vlqr.yaml"), "--profile", "tiny"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=repository, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(storage / "runs" / "vlqr" / "report.html")
    return storage / "runs" / "vlqr"


def test_run_folder_holds_everything(finished: Path) -> None:
    for name in ("job.yaml", "run.json", "predictions.parquet", "summary.json", "faces.npz", "report.html"):
        assert (finished / name).is_file(), name
    info = json.loads((finished / "run.json").read_text())
    assert info["seed"] == 0
    assert info["profile"] == "tiny"
    assert info["versions"]["torch"].split(".")[0] >= "2"
    assert info["data"]["faces"]["stand_in"] is True
    assert info["data"]["faces"]["counts"] == {"train": 64, "dev": 48}
    assert "use: vlqr/cnn5x5" in (finished / "job.yaml").read_text()
    for stage in ("sr", "joint", "clean"):
        folder = finished / "stages" / stage
        assert list((folder / "tensorboard").glob("events.*"))
        assert [
            json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines() if "lr" in line
        ] == [2, 4]
    transfer = json.loads((finished / "stages" / "joint" / "stage.json").read_text())["transfer"]
    assert transfer["from"] == "sr"
    assert transfer["taken"] == [f"conv{n}.{kind}" for n in (1, 2, 3) for kind in ("bias", "weight")]


def test_predictions_have_one_row_for_each_arm_level_and_sample(finished: Path) -> None:
    table = pq.read_table(finished / "predictions.parquet").to_pandas()
    assert len(table) == 2 * 8 * 48
    assert set(table["arm"]) == {"clean-trained", "max-mix"}
    assert sorted(set(table["severity"])) == [1, 2, 3, 4, 6, 8, 12, 16]
    assert table.groupby("sample")["truth"].nunique().max() == 1
    clean = table[(table["arm"] == "clean-trained") & (table["severity"] == 1)]
    assert clean["sample"].is_unique


def test_only_conv_layers_start_from_super_resolution(finished: Path) -> None:
    """After four tiny steps the transferred layers are still near their source, and far from another initialisation."""
    sr, joint, clean = (weights(finished, stage) for stage in ("sr", "joint", "clean"))
    name = "backbone.conv3.weight"
    assert np.abs(joint[name] - sr[name]).mean() < 0.1 * np.abs(clean[name] - sr[name]).mean()


def test_running_a_finished_job_again_trains_nothing(finished: Path, blear) -> None:
    before = {p: p.stat().st_mtime_ns for p in (finished / "stages").rglob("model.safetensors")}
    done = blear("run", *VLQR, BLEAR_STORAGE=str(finished.parents[1]))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("done by an earlier run") == 3
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_another_job_in_the_same_folder_is_refused(finished: Path, blear) -> None:
    done = blear("run", *VLQR, "--set", "stages.joint.steps=5", BLEAR_STORAGE=str(finished.parents[1]))
    assert done.returncode == 2
    assert "stages.joint.steps: the run has 4, this job 5" in done.stderr
    assert "--fresh" in done.stderr


def test_runs_are_deterministic_and_resume_after_a_kill(finished: Path, blear, storage: Path, repository: Path) -> None:
    """Killed with SIGKILL once the joint stage has a checkpoint; the same command ends with the same weights."""
    command = [sys.executable, "-m", "blear", "run", *VLQR]
    environment = os.environ | {"BLEAR_STORAGE": str(storage), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, cwd=repository, stderr=subprocess.DEVNULL)
    checkpoints = storage / "runs" / "vlqr" / "stages" / "joint" / "checkpoints"
    deadline = time.monotonic() + 200
    while not list(checkpoints.glob("step-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = storage / "runs" / "vlqr"
    assert not (run / "report.html").exists()
    done = blear("run", *VLQR)
    assert done.returncode == 0, done.stderr
    assert "stage sr: done by an earlier run" in done.stderr
    for stage in ("sr", "joint", "clean"):
        assert same(weights(finished, stage), weights(run, stage)), stage


def test_evaluate_and_report_again_give_the_same_table(finished: Path, blear) -> None:
    before = pq.read_table(finished / "predictions.parquet")
    done = blear("evaluate", str(finished), BLEAR_STORAGE=str(finished.parents[1]))
    assert done.returncode == 0, done.stderr
    assert "max-mix" in done.stdout
    assert pq.read_table(finished / "predictions.parquet").equals(before)
    assert blear("report", str(finished)).stdout.strip() == str(finished / "report.html")


def test_another_seed_gives_other_weights(finished: Path, blear, storage: Path) -> None:
    done = blear("run", *VLQR, "--set", "seed=1", "--set", "evaluate=null")
    assert done.returncode == 0, done.stderr
    assert not same(weights(finished, "clean"), weights(storage / "runs" / "vlqr", "clean"))
    assert [run.state for run in run_states(storage / "runs")] == ["done"]  # without an evaluation, too


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "no/such.yaml"), "no/such.yaml: no such job file"),
        (("evaluate", "/no/such/run"), "not a run folder"),
        (("report", "/no/such/run"), "/no/such/run"),
        (("prepare", "faces/procedual"), "did you mean faces/procedural"),
        (("prepare", "faces/procedural", "--set", "size=tiny"), "size"),
        (("plugins", "show", "cnn5x6"), "did you mean"),
        (("run", *VLQR, "--set", "stages.clean.batch_size=100"), "64 samples do not fill one batch of 100"),
        (("run", *VLQR, "--set", "evaluate.split=test"), "there is no split 'test'"),
        (("run", *VLQR, "--set", 'stages.joint.optimizer.scale_lr={"conv9": 1}'), "'conv9' matches no parameter"),
        (("run", *VLQR, "--set", "stages.joint.backbone.start_from.take=[conv7]"), "'conv7' took no weights"),
        (("run", *VLQR, "--set", "stages.clean.head.use=vlqr/arousal"), "arousal"),
        (("run", *VLQR, "--set", "stages.clean.optimizer.lr=1.0e+30"), "lower optimizer.lr"),
    ],
)
def test_a_user_error_is_one_message_and_exit_code_2(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments,
    expected: str,
) -> None:
    """In this process, for speed; the shards of the finished run are shared, its runs are not."""
    (tmp_path / "shards").symlink_to(finished.parents[1] / "shards")
    monkeypatch.setenv("BLEAR_STORAGE", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(sys, "argv", ["blear", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert expected in text
    assert "Traceback" not in text
    assert not list(tmp_path.rglob("*.partial"))


def test_a_truncated_shard_is_written_again(finished: Path, blear, storage: Path) -> None:
    shutil.copytree(finished.parents[1] / "shards", storage / "shards", ignore=shutil.ignore_patterns("cache"))
    shard = next((storage / "shards").glob("faces-procedural-*/train/*.tar"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:2000])
    assert blear("prepare", *VLQR).returncode == 0
    assert shard.read_bytes() == whole


def test_a_damaged_shard_of_the_right_size_is_named(finished: Path, blear, storage: Path) -> None:
    shutil.copytree(finished.parents[1] / "shards", storage / "shards", ignore=shutil.ignore_patterns("cache"))
    for shard in (storage / "shards").glob("faces-procedural-*/train/*.tar"):
        content = shard.read_bytes()
        shard.write_bytes(content[:600] + bytes(400) + content[1000:])  # inside the first picture
    done = blear("run", *VLQR)
    assert done.returncode == 2, done.stderr
    assert "broken sample" in done.stderr
    assert ".tar" in done.stderr
    assert "blear prepare" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((storage / "runs").rglob("model.safetensors"))
