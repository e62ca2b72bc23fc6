"""A system on Ray Train with two workers: each sample of a step is used once, and the run finishes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_systems_resume import JOBS, tiny

pytestmark = [pytest.mark.systems, pytest.mark.timeout(600)]


def test_two_workers_train_a_system(
    ray_head: str, ray_token: dict[str, str], ray_storage: Path, repository: Path
) -> None:
    name = "dsn_vgg"  # one of one stage: the others differ in nothing that the runner sees
    changes = [*tiny(repository, name), "cluster.workers=2", f"stages.{JOBS[name]}.audit=true"]
    sets = [part for change in changes for part in ("--set", change)]
    command = [str(Path(sys.executable).with_name("ray")), "job", "submit", "--address", ray_head]
    command += ["--working-dir", ".", "--", f"jobs/{name}.yaml", "--profile", "demo", *sets]
    environment = os.environ | ray_token
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    run = ray_storage / "runs" / name
    assert json.loads((run / "run.json").read_text())["runner"] == "ray"
    stage = run / "stages" / JOBS[name]
    assert json.loads((stage / "stage.json").read_text())["steps"] == 4
    records = [
        json.loads(line) for file in (stage / "samples").glob("*.jsonl") for line in file.read_text().splitlines()
    ]
    for step in range(1, 5):
        parts = [record for record in records if record["step"] == step]
        assert len(parts) == 2
        assert sorted(len(part["samples"]) for part in parts) == [2, 2]
