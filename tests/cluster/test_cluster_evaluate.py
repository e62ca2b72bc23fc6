"""Evaluation on a cluster whose head has no CPUs: a node dies in the middle; predictions equal those of one process."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cluster_run import REPOSITORY
from ray_cluster import BINARIES, wait_for
from ruamel.yaml import YAML

from blear.evaluate.predictions import read_predictions
from blear.pipeline.run import evaluate_run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

LEVELS = [0.2, 0.25, 0.3, 0.35, 0.4]
EVALUATE = {
    "split": "dev",
    "resamples": 20,
    "faces": 2,
    "batch_size": 5,
    "arms": {"a": {"stage": "one"}},
    "sweep": [{"use": "slow", "over": {"seconds": LEVELS}}],
}


def trained_run(source: Path, shards: Path, storage: Path) -> Path:
    """Copies a finished run without an evaluation, and adds one to its job; returns the run folder."""
    root = storage / "runs" / "reference"
    shutil.copytree(source, root)
    (storage / "shards").symlink_to(shards)
    yaml, file = YAML(), root / "job.yaml"
    job = yaml.load(file)
    job["evaluate"] = EVALUATE
    with file.open("w") as out:
        yaml.dump(job, out)
    return root


def test_a_node_dies_while_its_tasks_evaluate(
    cluster, reference, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = trained_run(reference.stage.parents[1], shards, tmp_path)
    nodes = cluster.resize(2)
    storage = {"BLEAR_STORAGE": str(tmp_path), "BLEAR_CACHE": str(shards / "cache")}
    log = tmp_path / "log"
    with log.open("w") as output:
        run = subprocess.Popen(
            [str(BINARIES / "blear"), "evaluate", str(root), "--cluster"],
            env=cluster.environment | storage | {"RAY_ADDRESS": cluster.address},
            cwd=REPOSITORY,
            stdout=output,
            stderr=output,
        )
    wait_for("a finished block", lambda: any(root.glob("evaluation/*/*.arrow")) or run.poll() is not None, 240)
    nodes[1].kill()
    assert run.wait(240) == 0, log.read_text()[-6000:]
    info = json.loads((root / "run.json").read_text())["evaluation"]
    assert info["runner"] == "ray"
    assert info["blocks"] == sum(info["hosts"].values()) == len(LEVELS)
    assert not (root / "evaluation").exists()
    assert (root / "report.html").is_file()
    on_cluster = read_predictions(root / "predictions.parquet")
    for name, value in storage.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    evaluate_run(root)
    assert read_predictions(root / "predictions.parquet").equals(on_cluster)
