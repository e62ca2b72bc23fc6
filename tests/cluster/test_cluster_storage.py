"""An interrupted write of a checkpoint, and a full disk: the previous checkpoint stays complete."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cluster_run import Reference, Run
from ray_cluster import wait_for
from safetensors.torch import load_file

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def complete_checkpoints(stage: Path) -> list[int]:
    """Steps of the checkpoints of a stage that does not run; each of them must load."""
    steps = []
    for folder in sorted((stage / "checkpoints").glob("step-*")):
        assert load_file(folder / "model.safetensors")
        assert torch.load(folder / "optimizer.pt", weights_only=True)["state"]
        steps.append(json.loads((folder / "state.json").read_text())["step"])
        assert folder.name == f"step-{steps[-1]:08d}"
    return steps


def stop(process: int) -> None:
    """Stops a process; returns when all of its threads have stopped, which takes longer than SIGSTOP itself."""
    os.kill(process, signal.SIGSTOP)

    def stopped() -> bool:
        try:
            stats = [(task / "stat").read_text() for task in Path(f"/proc/{process}/task").iterdir()]
        except OSError:  # a thread has just ended
            return False
        return {text.rpartition(")")[2].split()[0] for text in stats} == {"T"}

    wait_for("all threads have stopped", stopped, 30)


def kill_while_writing(worker: int, stage: Path) -> list[int]:
    """Kills a worker while it writes a checkpoint; returns the steps of the complete ones."""
    until = time.monotonic() + 60
    while True:
        assert time.monotonic() < until, "no checkpoint was caught while it was written"
        if any((stage / "checkpoints").glob(".step-*.partial")):
            stop(worker)
            if any((stage / "checkpoints").glob(".step-*.partial")):
                break
            os.kill(worker, signal.SIGCONT)
    before = complete_checkpoints(stage)
    os.kill(worker, signal.SIGKILL)
    assert before
    return before


def finish(run: Run, reference: Reference) -> None:
    """Waits for the end of a run, and checks its results."""
    assert run.end() == 0, run.text
    reference.check(run)
    assert not list((run.stage / "checkpoints").glob(".step-*")), "partial checkpoints are deleted"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system of 6 MiB; None where mounting is not permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        yield None
        return
    yield folder
    for _ in range(20):
        if subprocess.run(["umount", folder], capture_output=True).returncode == 0:
            return
        time.sleep(0.5)
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Writes a file that fills the disk."""
    path = folder / "filler"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        for size in (65536, 4096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return path


def test_a_worker_is_killed_while_it_writes_a_checkpoint_then_the_disk_is_full(
    cluster, start, reference, small_disk: Path | None
) -> None:
    (node,) = cluster.resize(1)
    run = start("full", "stages.one.checkpoint_every=2", storage=small_disk)
    run.wait_for_step(6)
    before = kill_while_writing(node.trainers[0], run.stage)
    run.wait_for("a second attempt", lambda: run.worlds == [1, 1])
    assert f"continues from step {before[-1]} " in run.history
    if small_disk is None:
        finish(run, reference)
        pytest.skip("mounting is not permitted here; the full disk is not tested")

    run.wait_for_step(20)
    filler = fill(small_disk)
    assert run.end() == 2, run.text
    assert "No space left on device" in run.text
    assert "give the same command" in run.text
    assert "Traceback" not in run.text
    assert complete_checkpoints(run.stage)[-1] >= 10
    filler.unlink()
    again = start("full", "stages.one.checkpoint_every=2", storage=small_disk)
    finish(again, reference)
