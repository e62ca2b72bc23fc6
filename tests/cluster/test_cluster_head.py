"""The main job on a cluster whose head has no CPUs: nothing heavy runs in the driver or on the head."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from cluster_run import REPOSITORY, storage_of
from ray_cluster import BINARIES, Node, children

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

RAY_TRAIN = {  # actors that Ray Train starts beside the driver for each stage; they compute nothing
    "IDLE",
    "TrainController",
    "SynchronizationActor",
    "PlacementGroupCleaner",
    "DatasetManager",
    "PreemptionWatcher",
    "_AutoscalingCoordinatorActor",
}
TICKS = os.sysconf("SC_CLK_TCK")


class CpuMeter:
    """CPU seconds of processes over time, read from /proc while a block runs; processes that end are counted.

    Args:
        groups: name of a group -> nodes whose worker processes (`ray::...`) belong to it.
    """

    def __init__(self, groups: dict[str, list[Node]]) -> None:
        self._groups = groups
        self._used: dict[tuple[str, int, str], tuple[float, float]] = {}
        self.names: dict[str, set[str]] = {name: set() for name in groups}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    @property
    def seconds(self) -> Counter[str]:
        """CPU seconds of each group."""
        total: Counter[str] = Counter()
        for (group, _, _), (first, last) in self._used.items():
            total[group] += last - first
        return total

    def __enter__(self) -> CpuMeter:
        self._read(new=False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._done.wait(0.25):
            self._read(new=True)

    def _read(self, *, new: bool) -> None:
        """Reads all processes. Those that are `new` have used nothing before the block."""
        for group, nodes in self._groups.items():
            for pid, line in [found for node in nodes for found in children(node.process.pid)]:
                if not line.startswith("ray::") or "Agent" in line:
                    continue
                try:
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                self.names[group].add(line.split()[0].partition(".")[0].removeprefix("ray::"))
                used, key = (int(fields[11]) + int(fields[12])) / TICKS, (group, pid, fields[19])
                self._used[key] = self._used.get(key, (0.0 if new else used, used))[0], used


def test_the_driver_of_a_job_computes_little(cluster, shards: Path, tmp_path: Path, capsys) -> None:
    """`vlqr` from preparation to report."""
    cluster.resize(2)
    environment = cluster.environment | {"RAY_ADDRESS": cluster.address} | storage_of(tmp_path, shards)
    command = [str(BINARIES / "blear"), "run", str(REPOSITORY / "jobs" / "vlqr.yaml"), "--profile", "tiny"]
    command += ["--set", "stages.*.steps=300", "--set", "cluster.workers=2", "--set", "stages.*.checkpoint_every=100"]
    log = tmp_path / "log"
    with log.open("w") as output, CpuMeter({"head": cluster.nodes[:1], "nodes": cluster.nodes[1:]}) as meter:
        driver = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=output, stderr=output)
        _, status, usage = os.wait4(driver.pid, 0)
    driver.returncode = os.waitstatus_to_exitcode(status)
    assert driver.returncode == 0, log.read_text()[-6000:]
    run = tmp_path / "runs" / "vlqr"
    assert (run / "report.html").is_file()
    assert json.loads((run / "run.json").read_text())["evaluation"]["runner"] == "ray"
    assert list((tmp_path / "shards").glob("*/dataset.json")), "prepared by this run"
    used = meter.seconds
    own = usage.ru_utime + usage.ru_stime
    with capsys.disabled():
        sys.stdout.write(
            f"\nCPU seconds: driver {own:.1f}, Ray's actors on the head {used['head']:.1f}, nodes {used['nodes']:.1f}\n"
        )
    assert own < 0.1 * (own + used["nodes"] + used["head"]), (own, used)
    assert meter.names["head"] <= RAY_TRAIN, "tasks of the job run on the nodes only"
    assert used["nodes"] > used["head"], used
