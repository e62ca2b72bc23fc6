"""One real Ray cluster, storage that its runs share, and an uninterrupted reference run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_run import LONG, Reference, Run, blear, storage_of, write_job
from ray_cluster import BINARIES, QUICK, Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, ray_token: dict[str, str]) -> Iterator[Cluster]:
    """The cluster; at first it has a head only."""
    keep = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    keep |= {"PATH": f"{BINARIES}:{os.environ['PATH']}", **QUICK, **ray_token}
    made = Cluster(tmp_path_factory.mktemp("cluster"), keep)
    try:
        made.head()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Storage whose shards are shared by the runs of these tests."""
    return tmp_path_factory.mktemp("cluster-shards")


@pytest.fixture
def start(cluster: Cluster, shards: Path, tmp_path: Path):
    """Starts `blear run` on the cluster: start("name", workers=[1, 2], storage=...) -> Run."""
    runs: list[Run] = []

    def call(name: str, *changes: str, workers: object = 1, storage: Path | None = None, seconds: float = 0.3) -> Run:
        root = storage or tmp_path / "storage"
        root.mkdir(parents=True, exist_ok=True)
        if not (root / "shards").exists():
            (root / "shards").symlink_to(shards)
        job = write_job(tmp_path, name, workers, seconds)
        output = tmp_path / f"{name}-{len(runs)}.out"
        environment = cluster.environment | {"RAY_ADDRESS": cluster.address} | storage_of(root, shards)
        process = blear(job, changes, output, environment)
        run = Run(process, output, root / "runs" / name / "stages" / "one", tmp_path / "gate")
        runs.append(run)
        return run

    yield call
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait(30)


@pytest.fixture(scope="session")
def reference(cluster: Cluster, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """`LONG` steps by the local runner."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "shards").symlink_to(shards)
    job, output = write_job(folder, "reference", 1, 0.0), folder / "out"
    environment = cluster.environment | storage_of(folder, shards)
    process = blear(job, [f"stages.one.steps={LONG}"], output, environment)
    run = Run(process, output, folder / "runs/reference/stages/one", folder / "gate")
    assert run.end() == 0, run.text
    return Reference([loss for _, loss in run.losses], run.stage)
