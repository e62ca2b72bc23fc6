"""`blear predict --cluster`: a node dies halfway; each clip is in the table exactly once, as in that of a local run.

An input at which each worker dies is an error of this input only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
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


def readers(pipe: Path) -> set[int]:
    """Processes beside this one that have a pipe open."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if link.readlink() == pipe:
                found.add(int(link.parts[2]))
    return found - {os.getpid()}


def kill_reader(pipe: Path) -> int:
    """Kills the process that waits for the other end of a pipe; returns the number of killed processes, 0 or 1."""
    try:
        end = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody waits
        return 0
    until = time.monotonic() + 5  # it appears soon, unless it is a process that has just been killed
    while not (found := readers(pipe)) and time.monotonic() < until:
        time.sleep(0.01)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
        wait_for("it has ended", lambda: not readers(pipe))
    os.close(end)
    return len(found)


def test_an_input_at_which_each_worker_dies(cluster, reference, tmp_path: Path) -> None:
    """A pipe takes the place of this input: the test kills each worker that opens it."""
    cluster.resize(1)
    names = [str(tmp_path / f"{number}.png") for number in range(4)]
    for number in (0, 1, 3):
        cv2.imwrite(names[number], np.full((48, 48, 3), 60 * number, np.uint8))
    os.mkfifo(names[2])
    out, log = tmp_path / "out.jsonl", tmp_path / "log"
    command = [str(BINARIES / "blear"), "predict", str(reference.stage), *names, "--crops", "--device", "cpu"]
    environment = cluster.environment | {"OMP_NUM_THREADS": "1", "RAY_ADDRESS": cluster.address}
    killed = 0
    with (
        log.open("w") as file,
        subprocess.Popen([*command, "--out", str(out), "--cluster"], env=environment, stdout=file, stderr=file) as run,
    ):
        while run.poll() is None:
            killed += kill_reader(Path(names[2]))
            time.sleep(0.05)
    assert run.returncode == 1, log.read_text()
    assert killed > 1
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["input"] for row in rows] == [name for name in names if name != names[2]]
    facts = json.loads(out.with_name(f"{out.name}.meta.json").read_text())["inputs"]
    died = "the worker process died each time that it predicted this input"
    assert [facts[name].get("error") for name in names] == [None, None, died, None]
    assert f"{names[2]}: {died}\n" in log.read_text()
    assert "3 of 4 inputs" in log.read_text()
