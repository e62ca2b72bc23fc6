"""A cluster scales from 0 to 2 nodes and back for a submitted job, with Ray's fake multi-node provider.

The provider starts real raylets on this machine. Autoscaler, job server, token and Ray Train are the real ones.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from ray_cluster import ANY_PORT

from blear.search.results import read_results
from ports import free_port
from search_job import write_search

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

HEAD_ID = f"{'f' * 51}00000"  # the fake provider numbers its nodes from this one
HEAD_TYPE = "ray.head.default"  # and takes this type for the head
BIN = Path(sys.executable).parent

JOB = """name: elastic
data:
  faces:
    {use: faces/procedural, size: 48, color: luma, targets: [valence], subjects: {train: 4, dev: 3}, per_subject: 16}
stages:
  only:
    data: faces
    backbone: {use: vlqr/cnn5x5, width: 0.0625, dropout: 0.0}
    head: {use: vlqr/valence}
    optimizer: {use: sgd, lr: 0.001}
    batch_size: 15
    steps: 30
    log_every: 1
    checkpoint_every: 10
    audit: true
cluster: {workers: [1, 2], failures: 3, resize_s: 2}
"""


def launcher_file(gcs_address: str) -> dict[str, Any]:
    """The autoscaler's configuration: workers of one CPU, 0 to 2."""
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "head_node_id": HEAD_ID,
        "gcs_address": gcs_address,
        "launch_multiple": True,
    }
    types = {
        HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    }
    commands = ["setup_commands", "head_setup_commands", "worker_setup_commands", "initialization_commands"]
    commands += ["head_start_ray_commands", "worker_start_ray_commands"]
    defaults: dict[str, Any] = {key: [] for key in (*commands, "cluster_synced_files", "rsync_exclude", "rsync_filter")}
    defaults |= {"docker": {}, "auth": {}, "file_mounts": {}, "file_mounts_sync_continuously": False}
    return defaults | {
        "cluster_name": "fake",
        "upscaling_speed": 1.0,
        "max_workers": 2,
        "idle_timeout_minutes": 0.1,
        "provider": provider,
        "head_node_type": HEAD_TYPE,
        "available_node_types": types,
    }


class NodeCounts:
    """Numbers of running worker nodes over time, from Ray's state API."""

    def __init__(self, address: str, token: str) -> None:
        self.address, self.headers = address, {"Authorization": f"Bearer {token}"}
        self.seen: list[int] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def now(self) -> int:
        response = requests.get(f"{self.address}/api/v0/nodes", headers=self.headers, timeout=30)
        nodes = response.json()["data"]["result"]["result"]
        return sum(node["state"] == "ALIVE" and not node["is_head_node"] for node in nodes)

    def _poll(self) -> None:
        while not self._done.wait(0.5):
            count = self.now()
            if not self.seen or self.seen[-1] != count:
                self.seen.append(count)

    def __enter__(self) -> NodeCounts:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(30)


@dataclass(frozen=True)
class ScalingCluster:
    """A head without CPUs and its autoscaler; `environment` is for client processes."""

    dashboard: str
    gcs: str
    environment: dict[str, str]
    storage: Path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScalingCluster]:
    """The scaling cluster."""
    tmp_path = tmp_path_factory.mktemp("scaling")
    port, dashboard, token = free_port(), free_port(), secrets.token_hex(32)
    config, log = tmp_path / "autoscaling.yaml", tmp_path / "head.log"
    config.write_text(yaml.safe_dump(launcher_file(f"127.0.0.1:{port}")))
    client = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    client |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "OMP_NUM_THREADS": "1"}
    client["RAY_worker_niceness"] = "0"  # 15 by default: on a busy machine workers would hardly run
    environment = client | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "BLEAR_STORAGE": str(tmp_path / "storage"),
        "BLEAR_CACHE": str(tmp_path / "cache"),
        "BLEAR_AUTOSCALING_CONFIG": str(config),
        "RAY_FAKE_CLUSTER": "1",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "1",
        "RAY_enable_autoscaler_v2": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
        "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
        "RAY_NODE_TYPE_NAME": HEAD_TYPE,
    }
    arguments = ["start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=0"]
    arguments += ["--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1", "--disable-usage-stats", *ANY_PORT]
    address = f"http://127.0.0.1:{dashboard}"
    with log.open("w") as output:
        command = [str(BIN / "ray"), *arguments, f"--autoscaling-config={config}"]
        head = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        await_job_server(address, token, head, log)
        yield ScalingCluster(address, f"127.0.0.1:{port}", client, tmp_path / "storage")
    finally:
        head.terminate()
        head.wait(60)


def await_job_server(address: str, token: str, head: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until the job server replies."""
    for _ in range(120):
        if head.poll() is not None:
            pytest.fail(f"the head ended:\n{log.read_text()}")
        try:
            headers = {"Authorization": f"Bearer {token}"}
            if requests.get(f"{address}/api/jobs/", headers=headers, timeout=30).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(1)
    pytest.fail(f"the head did not answer:\n{log.read_text()}")


def run(cluster: ScalingCluster, project: Path, *command: str, **variables: str) -> tuple[str, str, list[int]]:
    """Runs a command with job.yaml of a folder; returns its output, its messages and all numbers of worker nodes.

    Waits until all nodes are gone. The job's data are prepared before, so that stages or trials request the nodes.
    """
    prepare = [str(BIN / "blear"), "prepare", "job.yaml", "--workers", "1"]
    here = cluster.environment | {"BLEAR_STORAGE": str(cluster.storage)}
    subprocess.run(prepare, cwd=project, env=here, capture_output=True, check=True, timeout=120)
    counts = NodeCounts(cluster.dashboard, cluster.environment["RAY_AUTH_TOKEN"])
    first = counts.now()
    with counts:
        done = subprocess.run(
            [str(BIN / "blear"), *command], cwd=project, env=cluster.environment | variables, capture_output=True,
            text=True, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr
        end = time.monotonic() + 90
        while (last := counts.now()) and time.monotonic() < end:
            time.sleep(1)
    return done.stdout, done.stderr, [first, *counts.seen, last]


def test_a_search_scales_the_cluster_from_0_to_2_nodes_and_back(cluster: ScalingCluster, tmp_path: Path) -> None:
    """Not submitted: the nodes share one disk, so that each would overwrite the unpacked project of the others."""
    write_search(tmp_path, algorithm="random", trials=4, concurrent=2)
    where = {"RAY_ADDRESS": cluster.gcs, "BLEAR_STORAGE": str(cluster.storage)}
    _, messages, counts = run(cluster, tmp_path, "run", "job.yaml", **where)
    assert (counts[0], max(counts), counts[-1]) == (0, 2, 0), counts
    results = read_results(cluster.storage / "runs" / "tiny" / "search.json")
    assert [trial.whole for trial in results.trials] == [True] * 4
    assert "search: 4/4" in messages


def test_a_submitted_job_scales_the_cluster_from_0_to_2_nodes_and_back(cluster: ScalingCluster, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    output, messages, counts = run(cluster, tmp_path, "submit", "job.yaml", "--address", cluster.dashboard)
    assert "elastic-1 succeeded" in messages
    waited = r"waiting for 1 to 2 workers of 1 CPU: the cluster has room for 0 now; (.*)\n"
    waiting = re.search(waited, output)
    assert waiting, output[-6000:]
    # on a fast machine the nodes are requested before the first poll
    assert re.fullmatch(
        r"(starting \d x worker)?(; )?(the autoscaler may add up to \d x worker \(1 CPU\))?", waiting[1]
    )
    assert (counts[0], max(counts), counts[-1]) == (0, 2, 0), counts

    stage = cluster.storage / "runs" / "elastic" / "stages" / "only"
    assert (stage / "stage.json").is_file()
    lines = [json.loads(x) for file in (stage / "samples").glob("*.jsonl") for x in file.read_text().splitlines()]
    assert {line["step"] for line in lines} == set(range(1, 31))
    for step in range(1, 31):
        first = max(line["first"] for line in lines if line["step"] == step)  # the last attempt
        parts = [line for line in lines if (line["step"], line["first"]) == (step, first)]
        used = [pair for part in parts for pair in zip(part["epochs"], part["samples"], strict=True)]
        assert len(set(used)) == len(used) == 15, step
    assert max(line["world"] for line in lines) == 2  # it used both nodes, at the start or later
