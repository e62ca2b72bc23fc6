"""Jobs submitted to a Ray cluster with `ray job submit`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from small_job import SMALL, sets

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


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


def test_an_error_of_a_worker_reaches_the_user_unchanged(submit) -> None:
    """Without --working-dir, in the checkout of the head."""
    arguments = sets(*SMALL, "name=wrong", "stages.hq.optimizer.lr=1.0e+30", "stages.hq.optimizer.clip_norm=null")
    done = submit("--", "jobs/vlqr_hq.yaml", *arguments)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "blear: stage hq: the loss is " in text, text[-5000:]
    assert "lower optimizer.lr" in text
    assert "exit code 2" in text or "code 2" in text, text[-5000:]
