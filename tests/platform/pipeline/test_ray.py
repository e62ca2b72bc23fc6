"""Training on a real Ray cluster: jobs submitted with `ray job submit`, two gloo workers equal to one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from blear.train.on_ray import internals

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

SMALL = [
    "data.faces.stand_in.size=48",
    "data.faces.stand_in.subjects={train: 4, dev: 3}",
    "data.faces.stand_in.per_subject=16",
    "stages.hq.backbone={use: vlqr/cnn5x5, width: 0.0625, dropout: 0.0}",
    "stages.hq.batch_size=15",
    "stages.hq.steps=6",
    "stages.hq.log_every=1",
    "stages.hq.checkpoint_every=3",
    "evaluate.resamples=20",
]


def sets(*changes: str) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


@pytest.fixture
def submit(ray_head: str, ray_token: dict[str, str], repository: Path):
    """Runs the real `ray job submit` in the checkout: submit("--", "job.yaml") -> CompletedProcess."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("ray")), "job", "submit", "--address", ray_head, *arguments]
        environment = os.environ | ray_token
        return subprocess.run(
            command, capture_output=True, text=True, cwd=repository, timeout=600, check=False, env=environment
        )

    return call


def losses(run: Path) -> list[float]:
    lines = (run / "stages" / "hq" / "log.jsonl").read_text().splitlines()
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


def test_ray_job_submit_runs_the_main_job(submit, ray_storage: Path) -> None:
    """Two stages are trained there; a stage of no steps is loaded."""
    clean = "{data: faces, start_from: {stage: joint}, backbone: {use: vlqr/cnn5x5, width: 0.0625}, "
    arguments = sets(f"stages.clean={clean}head: {{use: vlqr/valence}}, batch_size: 16, steps: 0}}")
    done = submit("--working-dir", ".", "--", "jobs/vlqr.yaml", "--profile", "tiny", *arguments)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "succeeded" in done.stdout + done.stderr
    run = ray_storage / "runs" / "vlqr"
    info = json.loads((run / "run.json").read_text())
    assert info["runner"] == "ray"
    assert (run / "report.html").is_file()
    assert json.loads((run / "stages" / "joint" / "stage.json").read_text())["transfer"]["from"] == "sr"
    joint, loaded = (load_file(run / "stages" / name / "model.safetensors") for name in ("joint", "clean"))
    assert all(np.array_equal(loaded[name], value) for name, value in joint.items())


def test_two_workers_give_the_losses_of_one(blear, blear_process, storage: Path) -> None:
    """Without a cluster `blear run` starts Ray on this machine; a batch of 15 is split into 8 and 7."""
    arguments = sets(*SMALL, "cluster.workers=2", "evaluate=null", "name=two")
    done = blear_process("run", "jobs/vlqr_hq.yaml", *arguments, timeout=800)
    assert done.returncode == 0, done.stderr[-6000:]
    two = storage / "runs" / "two"
    info = json.loads((two / "run.json").read_text())
    assert (info["runner"], info["world"]) == ("ray", 2)
    local = blear("run", "jobs/vlqr_hq.yaml", *sets(*SMALL, "evaluate=null", "name=one"))
    assert local.returncode == 0, local.stderr
    one = storage / "runs" / "one"
    assert len(losses(one)) == 6
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    ours, theirs = (load_file(run / "stages" / "hq" / "model.safetensors") for run in (one, two))
    for name, value in ours.items():
        assert theirs[name] == pytest.approx(value, abs=1e-4), name


def test_a_run_without_rays_internals_goes_on(ray_here, blear, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internals, "cluster_status", lambda: None)
    monkeypatch.setattr(internals, "train_callback_base", lambda: object)
    callback = "blear.train.on_ray.callback"  # imported again, here with another base class and after the test
    monkeypatch.setitem(sys.modules, callback, None)
    monkeypatch.delitem(sys.modules, callback)
    arguments = sets(*SMALL, "evaluate=null", "name=plain")
    done = blear("run", "jobs/vlqr_hq.yaml", "--runner", "ray", *arguments)
    assert done.returncode == 0, done.stderr[-6000:]
    assert "restarts are not reported, because this version of Ray is not known" in done.stderr
    assert len(losses(storage / "runs" / "plain")) == 6


def test_an_error_of_a_worker_reaches_the_user_unchanged(submit) -> None:
    """Without --working-dir, in the checkout of the head."""
    arguments = sets(*SMALL, "name=wrong", "stages.hq.optimizer.lr=1.0e+30", "stages.hq.optimizer.clip_norm=null")
    done = submit("--", "jobs/vlqr_hq.yaml", *arguments)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "blear: stage hq: the loss is " in text, text[-5000:]
    assert "lower optimizer.lr" in text
    assert "exit code 2" in text or "code 2" in text, text[-5000:]
