"""Searches on clusters: trials of several workers, trials that share a logical GPU (no device is needed)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ray_cluster import BINARIES, QUICK, Cluster, wait_for

from blear.search.results import SearchResults, read_results
from search_job import write_search

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def search(cluster: Cluster, folder: Path, *sets: str, **entries: object) -> tuple[SearchResults, str]:
    """Runs a search on a cluster; returns its results and its messages."""
    job = write_search(folder, algorithm="random", **entries)
    words = [word for text in sets for word in ("--set", text)]
    environment = cluster.environment | {"RAY_ADDRESS": cluster.address, "BLEAR_STORAGE": str(folder)}
    command = [str(BINARIES / "blear"), "run", str(job), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    return read_results(folder / "runs" / "tiny" / "search.json"), done.stderr


def test_trials_of_several_workers(cluster: Cluster, tmp_path: Path) -> None:
    """The cluster has room for the workers of one trial; the second trial waits for the first."""
    cluster.resize(2)
    narrow = {"narrow": {"stages.joint.degrade.0.factors": {1: 1, 2: 1}}}
    sets = ["cluster.workers=2", "stages.joint.audit=true", "stages.joint.backbone.start_from=null"]
    results, _ = search(cluster, tmp_path, *sets, trials=2, concurrent=None, baselines=narrow)
    assert [trial.whole for trial in results.trials] == [True] * 2
    points = [*(tmp_path / "runs/tiny/trials").iterdir(), *(tmp_path / "runs/tiny/baselines").iterdir()]
    assert len(points) == 3
    for point in points:
        audits = list((point / "stages" / "joint" / "samples").glob("*.jsonl"))
        assert len(audits) == 2
        worlds = {json.loads(line)["world"] for audit in audits for line in audit.read_text().splitlines()}
        assert worlds == {2}


@pytest.fixture(scope="module")
def one_gpu(tmp_path_factory: pytest.TempPathFactory, ray_token: dict[str, str]) -> Iterator[Cluster]:
    """A node with four CPUs and one logical GPU."""
    keep = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    keep |= {"PATH": f"{BINARIES}:{os.environ['PATH']}", **QUICK, **ray_token}
    made = Cluster(tmp_path_factory.mktemp("gpu"), keep)
    try:
        made.head("--num-cpus=4", "--num-gpus=1")
        yield made
    finally:
        made.stop()


def test_two_trials_share_a_gpu_and_one_of_them_is_killed(one_gpu: Cluster, tmp_path: Path) -> None:
    """There are CPUs for four trials; two trials at a time get half of the GPU each.

    The process of a trial is killed without warning: the trial continues from its checkpoint and has not failed.
    """
    (node,) = one_gpu.nodes
    checkpoints = "runs/tiny/trials/*/stages/joint/checkpoints/step-*/state.json"
    at_once, ended = [0], threading.Event()

    def running() -> list[int]:
        found = node.below("ray::ImplicitFunc.train")
        at_once.append(len(found))
        return found

    def kill() -> None:
        both = lambda: len({p.parts[-6] for p in tmp_path.glob(checkpoints)}) == 2 and len(running()) == 2  # noqa: E731
        wait_for("two trials that have checkpoints", both)
        os.kill(running()[0], signal.SIGKILL)
        while not ended.wait(0.1):
            running()

    sets = ["stages.joint.steps=1000", "stages.joint.checkpoint_every=50", "stages.joint.audit=true"]
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill)
        try:
            results, _ = search(one_gpu, tmp_path, *sets, trials=4, concurrent=None, gpus=0.5)
        finally:
            ended.set()
        killed.result()
    assert [(trial.whole, trial.error, trial.steps) for trial in results.trials] == [(True, None, 1000)] * 4
    assert max(at_once) == 2, at_once
    audits = list(tmp_path.glob("runs/tiny/trials/*/stages/joint/samples/*.jsonl"))
    lines = [json.loads(line) for audit in audits for line in audit.read_text().splitlines()]
    (again,) = {line["first"] for line in lines} - {0}
    assert again >= 50


def test_gpu_hours_end_a_search(one_gpu: Cluster, tmp_path: Path) -> None:
    """Half a GPU for each of two trials at once: as many GPU seconds as seconds."""
    results, output = search(one_gpu, tmp_path, trials=1000, concurrent=None, gpus=0.5, gpu_hours=8 / 3600)
    assert "search: its gpu_hours are used up; all trials stop" in output
    assert 0 < len(results.trials) < 1000, len(results.trials)
    assert results.trial(results.best)
