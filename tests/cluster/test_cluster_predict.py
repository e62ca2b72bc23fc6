"""`blear predict --cluster`: a node dies halfway; each clip is in the table exactly once, as in that of a local run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from ray_cluster import BINARIES, wait_for

from blear.cli import cli

CLIPS, FRAMES = 1000, 6
LIMIT_S = 600
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2 * LIMIT_S)]


def write_clips(folder: Path) -> list[str]:
    """Writes small videos that all differ, and one file that is no video; returns their names."""
    folder.mkdir()
    names = [str(folder / f"{number:04d}.avi") for number in range(CLIPS)]
    draws = np.random.default_rng(0)
    for name in names[:-1]:
        writer = cv2.VideoWriter(name, cv2.VideoWriter_fourcc(*"MJPG"), 25, (48, 48))
        shade = cv2.resize(draws.integers(0, 255, (4, 4, 3), np.uint8), (48, 48))
        for frame in range(FRAMES):
            writer.write(np.roll(shade, frame, axis=1))
        writer.release()
    Path(names[-1]).write_text("no video")
    return names


def test_a_node_dies_while_clips_are_predicted(cluster, reference, tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips")
    nodes = cluster.resize(2)
    out = tmp_path / "out.parquet"
    command = [str(BINARIES / "blear"), "predict", str(reference.stage), str(tmp_path / "clips"), "--crops"]
    command += ["--every", "1", "--device", "cpu", "--out"]
    environment = cluster.environment | {"OMP_NUM_THREADS": "1"}
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(
            [*command, str(out), "--cluster"],
            env=environment | {"RAY_ADDRESS": cluster.address},
            stdout=log,
            stderr=log,
        )
    journal = out.with_name(f".{out.name}.partial")

    def finished() -> int:
        return journal.read_bytes().count(b'\n{"input_end"') if journal.is_file() else 0

    log_file = tmp_path / "log"
    wait_for("some clips are predicted", lambda: finished() >= CLIPS // 4 or run.poll() is not None, LIMIT_S)
    assert all(node.below("ray::MapWorker") for node in nodes), "both nodes predict"
    before = finished()
    nodes[1].kill()
    assert run.wait(LIMIT_S) == 1, log_file.read_text()  # one clip is broken
    assert before < CLIPS - 1
    assert f"{CLIPS - 1} of {CLIPS} inputs: {(CLIPS - 1) * FRAMES} faces" in log_file.read_text()

    table = pq.read_table(out).to_pylist()
    rows = [row for row in table if row["error"] is None]
    assert [(row["input"], row["frame"]) for row in rows] == [(c, f) for c in clips[:-1] for f in range(FRAMES)]
    (broken,) = [row for row in table if row["error"] is not None]
    assert broken["input"] == clips[-1]
    assert "no frame can be decoded" in broken["error"]
    file = pq.ParquetFile(out)
    assert file.num_row_groups == CLIPS
    assert [set(file.read_row_group(n, ["input"])["input"].to_pylist()) for n in range(CLIPS)] == [{c} for c in clips]
    facts = json.loads(out.with_name(f"{out.name}.meta.json").read_text())
    assert list(facts["inputs"]) == clips
    assert sum(facts["hosts"].values()) == CLIPS

    local = tmp_path / "local.parquet"
    CliRunner().invoke(cli, [*command[1:], str(local)])
    assert pq.read_table(local).equals(pq.read_table(out))
