"""A Ray head on loopback, started as its users do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

from ports import free_port

QUICK = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # `make test-cluster` tests it
    "RAY_enable_metrics_collection": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_num_workers_soft_limit": "8",  # processes that have imported torch wait for the next task; 2 by default here
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "1",
}
"""Settings with which Ray runs fewer processes and waits less. Workers and drivers get them from their head."""

_STARTS = 5  # a node that needs over 30 seconds to start ends, for instance on a busy machine


class RayHead:
    """A started head; it accepts jobs.

    Args:
        log: file for its output.
        folder: its working directory.
        environment: environment variables, in addition to those of this process; with Ray's token.
    """

    def __init__(self, log: Path, folder: Path, environment: dict[str, str]) -> None:
        self._log, self._folder = log, folder
        self._binaries = Path(sys.executable).parent
        self._environment = os.environ | {"PATH": f"{self._binaries}:{os.environ['PATH']}"} | QUICK | environment
        for _ in range(_STARTS):
            self._start()
            if self._accepts_jobs(environment["RAY_AUTH_TOKEN"]):
                return
            self.stop()
        pytest.fail(f"no Ray head started:\n{log.read_text()}")

    def _start(self) -> None:
        # a temporary folder for each head: Ray's job supervisor finds its cluster by the address file in that folder;
        # short: paths of sockets have at most 107 bytes
        self._temporary = tempfile.mkdtemp(prefix="ray-")
        dashboard, self._agent = free_port(), free_port()
        self.address = f"http://127.0.0.1:{dashboard}"
        command = [str(self._binaries / "ray"), "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats"]
        command += [f"--port={free_port()}", f"--dashboard-port={dashboard}", f"--temp-dir={self._temporary}"]
        command += [f"--dashboard-agent-listen-port={self._agent}", f"--ray-client-server-port={free_port()}"]
        command += ["--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1", "--object-store-memory=80000000"]
        with self._log.open("w") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=self._folder, env=self._environment
            )

    def _accepts_jobs(self, token: str) -> bool:
        """Waits until the head has started, lists its jobs and has an agent that starts them; False if it does not."""
        healthy = f"http://127.0.0.1:{self._agent}/api/local_raylet_healthz"
        jobs = urllib.request.Request(f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
        until = time.monotonic() + 120
        while time.monotonic() < until and self._process.poll() is None:
            if "Ray runtime started" not in self._log.read_text():  # the dashboard may run although the node fails
                time.sleep(0.1)
                continue
            try:
                with urllib.request.urlopen(jobs, timeout=30) as answer:
                    json.load(answer)
                with urllib.request.urlopen(healthy, timeout=30) as answer:
                    return answer.status == 200
            except OSError:
                time.sleep(0.2)
        return False

    def stop(self) -> None:
        """Ends the head."""
        self._process.terminate()
        self._process.wait(60)
        shutil.rmtree(self._temporary, ignore_errors=True)
