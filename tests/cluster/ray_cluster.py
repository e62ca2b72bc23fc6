"""A Ray cluster of several raylets on loopback, whose processes a test can kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ports import free_port

_STARTS = 3
BINARIES = Path(sys.executable).parent
ANY_PORT = ("--min-worker-port=0", "--max-worker-port=0")  # of workers; by default all heads use the same ones
AGENT = "dashboard-agent-listen"  # its default port is fixed, so that one machine could have one node only

# shorter intervals than Ray's defaults of 2 to 60 seconds
QUICK = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "1",
    "RAY_enable_metrics_collection": "0",
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "2",
    "OMP_NUM_THREADS": "1",
}


def wait_for(what: str, condition: Callable[[], object], seconds: float = 300, every: float = 0.1) -> None:
    """Waits until `condition()` is true; fails the test after `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(every)


def children(pid: int) -> list[tuple[int, str]]:
    """(pid, command line) of every process below `pid`."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found, pending = [], [pid]
    while pending:
        for child in parents.get(pending.pop(), []):
            pending.append(child)
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                found.append((child, line))
    return found


@dataclass
class Node:
    """One `ray start --block` with its child processes."""

    process: subprocess.Popen[bytes]
    log: Path

    def below(self, name: str) -> list[int]:
        """Processes of this node whose command line starts with or ends in `name`."""
        return [pid for pid, line in children(self.process.pid) if line.startswith(name) or line.endswith(name)]

    @property
    def trainers(self) -> list[int]:
        """Processes of Ray Train workers."""
        return self.below("ray::RayTrainWorker") + self.below("ray::TrainWorker")

    @property
    def raylet(self) -> int:
        """Process id of the raylet."""
        return next(pid for pid, line in children(self.process.pid) if "/raylet/raylet " in f"{line} ")

    def kill(self) -> None:
        """Kills the raylet and all processes of the node, as when a machine is switched off."""
        self.process.send_signal(signal.SIGSTOP)  # otherwise it would clean up after the raylet
        found = children(self.process.pid)
        for pid, _ in sorted(found, key=lambda child: "/raylet/raylet " not in f"{child[1]} "):  # the raylet first
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        """Stops the node with SIGTERM."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


def stop_all(nodes: Sequence[Node]) -> None:
    """Stops nodes at the same time."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(Node.stop, nodes))


@dataclass
class Cluster:
    """A head without CPUs, and nodes of one CPU each."""

    folder: Path
    environment: dict[str, str]
    address: str = ""
    nodes: list[Node] = field(default_factory=list)

    def start(self, *arguments: str, **environment: str) -> Node:
        """Starts a Ray node and waits until it runs. Ray ends a node that needs over 30 seconds; it is restarted."""
        for _ in range(_STARTS):
            if (node := self._start(arguments, environment)) is not None:
                self.nodes.append(node)
                return node
        pytest.fail(f"a Ray node timed out at each of {_STARTS} starts")

    def _start(self, arguments: Sequence[str], environment: dict[str, str]) -> Node | None:
        """One start; None where it took too long."""
        log = self.folder / f"node-{time.time_ns()}.log"
        command = [str(BINARIES / "ray"), "start", "--block", "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
        command += ["--object-store-memory=80000000", "--include-log-monitor=false", *arguments]
        with log.open("w") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=self.folder, env=self.environment | environment
            )

        def has_started_or_ended() -> bool:
            return process.poll() is not None or "Ray runtime started" in log.read_text()

        wait_for(f"a Ray node is up ({log})", has_started_or_ended, 240)
        if process.poll() is None:
            return Node(process, log)
        if "timed out during startup" not in log.read_text():
            pytest.fail(f"a Ray node ended:\n{log.read_text()}")
        return None

    def head(self, *resources: str) -> None:
        """Starts the head; without CPUs, unless its resources are given."""
        port = free_port()
        ports = [
            f"--port={port}",
            *(f"--{name}-port={free_port()}" for name in ("ray-client-server", AGENT)),
            *ANY_PORT,
        ]
        self.address = f"127.0.0.1:{port}"
        self.start("--head", *(resources or ["--num-cpus=0"]), "--include-dashboard=false", *ports)

    def add(self, **environment: str) -> Node:
        """Adds a node of one CPU."""
        ports = [f"--{AGENT}-port={free_port()}", *ANY_PORT]
        return self.start(f"--address={self.address}", "--num-cpus=1", *ports, **environment)

    def resize(self, count: int) -> list[Node]:
        """Starts or stops nodes until there are `count` beside the head; reuses nodes of earlier tests."""
        alive = [node for node in self.nodes[1:] if node.process.poll() is None]
        stop_all(alive[count:])
        self.nodes[1:] = alive[:count]
        while len(self.nodes) - 1 < count:
            self.add()  # one after the other: of two that start at once, Ray ended one after 30 seconds
        return self.nodes[1:]

    def stop(self) -> None:
        """Stops all nodes, the head last."""
        stop_all(self.nodes[1:])
        stop_all(self.nodes[:1])
