"""A job may change what no trained stage depends on; other changes are listed; one run at a time uses a folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from blear.errors import RunError
from blear.job.reader import read_job
from blear.job.schema import Job
from blear.pipeline.resume import open_run
from blear.storage.run_folder import RunFolder, write_text
from blear.storage.run_lock import local_locks, run_lock

JOB = """name: changes
data:
  faces: {use: faces/procedural, size: 24, color: luma, targets: [valence]}
  others: {use: faces/procedural, size: 32, color: luma, targets: [valence]}
stages:
  clean: &stage
    data: faces
    backbone: {use: cnn5x5, width: 0.05}
    head: {use: valence}
    optimizer: {lr: 0.01}
    steps: 3000
  more:
    <<: *stage
    backbone: {use: cnn5x5, width: 0.05, start_from: {stage: clean}}
evaluate:
  split: dev
  sweep: {use: downscale, over: {factor: [1, 2]}}
  arms: {one: {stage: clean}, two: {stage: more}}
"""


@pytest.fixture
def read(tmp_path: Path):
    """read("path=value", ...) -> the job with these values."""
    (tmp_path / "job.yaml").write_text(JOB)

    def call(*overrides: str) -> Job:
        return read_job(tmp_path / "job.yaml", overrides=overrides)[0]

    return call


@pytest.fixture
def run(read, tmp_path: Path) -> RunFolder:
    """A run whose first stage is trained."""
    run = open_run(read(), tmp_path / "run", fresh=False)
    write_text(run.stage("clean") / "stage.json", "{}")
    return run


@pytest.mark.parametrize(
    "override",
    [
        "evaluate.split=test",
        "evaluate.sweep.over={factor: [4]}",
        "stages.more.steps=300",
        "cluster.workers=2",
        "trackers=[]",
        "data.others.size=48",
        "description=another",
    ],
)
def test_what_no_trained_stage_depends_on_may_change(read, run: RunFolder, override: str) -> None:
    changed = read(override)
    open_run(changed, run.root, fresh=False)
    assert read_job(run.root / "job.yaml")[0] == changed


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("stages.clean.steps=300", "stages.clean.steps: the run has 3000, this job 300"),
        ("data.faces.size=32", "data.faces.size: the run has 24, this job 32"),
        ("seed=1", "seed: the run has 0, this job 1"),
    ],
)
def test_other_changes_are_listed_with_both_values(read, run: RunFolder, override: str, line: str) -> None:
    before = (run.root / "job.yaml").read_text()
    with pytest.raises(RunError) as caught:
        open_run(read(override), run.root, fresh=False)
    assert f"\n    {line}" in caught.value.what
    assert "--fresh" in caught.value.do
    assert "stages/clean" in caught.value.do
    assert (run.root / "job.yaml").read_text() == before


def test_a_change_in_a_long_list_names_the_entry(read, tmp_path: Path) -> None:
    """Both lists begin alike, so that their shortened texts would be equal."""
    chain = "stages.clean.degrade=[{use: downscale, factor: 2}, {use: blur, sigma: 1.5}, {use: noise, sigma: %s}]"
    run = open_run(read(chain % 5), tmp_path / "run", fresh=False)
    write_text(run.stage("clean") / "stage.json", "{}")
    with pytest.raises(RunError) as caught:
        open_run(read(chain % 6), run.root, fresh=False)
    assert caught.value.what.splitlines()[1:] == ["    stages.clean.degrade.2.sigma: the run has 5, this job 6"]
    with pytest.raises(RunError, match=r"stages\.clean\.degrade\.2: the run has \{.*\.\.\., this job nothing"):
        open_run(read(chain.replace(", {use: noise, sigma: %s}", "")), run.root, fresh=False)


def test_a_stage_with_a_checkpoint_and_the_source_of_a_trained_stage_must_not_change(read, tmp_path: Path) -> None:
    run = open_run(read(), tmp_path / "run", fresh=False)
    write_text(run.stage("more") / "checkpoints" / "step-00000002" / "state.json", "{}")
    for name in ("clean", "more"):
        with pytest.raises(RunError, match=f"stages.{name}.batch_size: the run has 128, this job 64"):
            open_run(read(f"stages.{name}.batch_size=64"), run.root, fresh=False)


def test_the_validation_data_of_a_started_stage_must_not_change(read, tmp_path: Path) -> None:
    validated = "stages.clean.validate={every: 10, data: others, split: dev, keep: best}"
    run = open_run(read(validated), tmp_path / "run", fresh=False)
    write_text(run.stage("clean") / "checkpoints" / "step-00000002" / "state.json", "{}")
    with pytest.raises(RunError, match=r"data\.others\.size: the run has 32, this job 48"):
        open_run(read(validated, "data.others.size=48"), run.root, fresh=False)


def test_fresh_deletes_everything_but_the_lock(read, run: RunFolder) -> None:
    with run_lock(run.root):
        open_run(read("stages.clean.steps=300"), run.root, fresh=True)
        assert sorted(path.name for path in run.root.iterdir()) == ["job.yaml", "run.lock"]


def test_an_interrupted_deletion_can_be_repeated(read, run: RunFolder) -> None:
    """The job is the last file that --fresh replaces: without it, a folder is no run folder, and is not deleted."""
    assert [path.name for path in RunFolder.start(run.root, fresh=True).root.iterdir()] == ["job.yaml"]
    (run.root / "stages").mkdir()  # not deleted yet
    open_run(read("seed=1"), run.root, fresh=True)
    assert [path.name for path in run.root.iterdir()] == ["job.yaml"]


HOLD = """import sys
from pathlib import Path
from blear.storage.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_of_a_folder_is_refused_and_names_the_first(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    environment = os.environ | {"SLURM_JOB_ID": "4711"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(RunError) as caught, run_lock(tmp_path / "run"):
            pass
        assert f"host {socket.gethostname()}, process {first.pid}, job 4711, since " in caught.value.what
        first.kill()
    with run_lock(tmp_path / "run"):  # the lock of a process that was killed is free
        pass


def test_nfs_with_local_locks_is_recognised(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    lines = ["/dev/vda / ext4 rw 0 0", f"host:/a {tmp_path} nfs4 rw,local_lock=none 0 0"]
    mounts.write_text("\n".join(lines))
    assert not local_locks(tmp_path / "run", mounts)
    mounts.write_text("\n".join([*lines, f"host:/b {tmp_path}/run nfs rw,nolock,addr=10.0.0.1 0 0"]))
    assert local_locks(tmp_path / "run", mounts)
    assert not local_locks(tmp_path / "other", mounts)
