"""Workers and nodes that die, join, leave or hang: samples and losses equal those of an uninterrupted run."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

import pytest
from ray_cluster import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

JUST_IN_TIME_ONLY = "stages.one.checkpoint_every=1000"


def both_train(nodes) -> Callable[[], bool]:
    """Whether each node has a worker; Ray may start with one worker and add the second."""
    return lambda: all(node.trainers for node in nodes)


def continued_from(history: str) -> list[int]:
    """The steps from which restarts continued."""
    return [
        int(line.split("continues from step ")[1].split()[0]) for line in history.splitlines() if "continues" in line
    ]


def until_both(run, nodes) -> None:
    """Waits until each node has a training worker."""
    wait_for("a worker on each node", both_train(nodes))
    wait_for("an attempt of two workers", lambda: run.worlds[-1:] == [2])


def test_a_worker_process_is_killed(cluster, start, reference) -> None:
    nodes = cluster.resize(2)
    run = start("killed", workers=2)
    run.wait_for_step(25)
    os.kill(nodes[1].trainers[0], signal.SIGKILL)
    assert run.end() == 0, run.text
    reference.check(run)
    assert run.worlds == [2, 2]
    assert "lost a worker" in run.history
    assert continued_from(run.history) == [20]
    assert "stage one: lost a worker" in run.text, "the user is told"


def test_a_node_dies_in_the_middle_of_an_epoch(cluster, start, reference) -> None:
    nodes = cluster.resize(2)
    run = start("dead-node", workers=[1, 2])
    run.wait_for_step(1)
    until_both(run, nodes)
    run.wait_for_step(run.step + 5)
    nodes[1].kill()
    assert run.end() == 0, run.text
    reference.check(run)
    assert run.worlds[-2:] == [2, 1]
    assert "lost a worker" in run.history


def test_a_node_joins_in_the_middle_of_an_epoch(cluster, start, reference) -> None:
    cluster.resize(1)
    run = start("grows", "stages.one.steps=100", JUST_IN_TIME_ONLY, workers=[1, 2], seconds=0.4)
    run.wait_for_step(5)
    cluster.add()
    assert run.end() == 0, run.text
    reference.check(run, 100)
    assert run.worlds == [1, 2]
    assert "goes from 1 to 2 workers" in run.history
    assert "no step is done again" in run.history, "a checkpoint was written just before"


def test_a_worker_process_gets_sigterm(cluster, start, reference) -> None:
    nodes = cluster.resize(2)
    run = start("sigterm", JUST_IN_TIME_ONLY, workers=2)
    run.wait_for_step(15)
    os.kill(nodes[0].trainers[0], signal.SIGTERM)
    assert run.end() == 0, run.text
    reference.check(run)
    assert run.worlds == [2, 2]
    assert continued_from(run.history)[0] >= 15
    assert "no step is done again" in run.history


def test_a_spot_node_is_preempted(cluster, start, reference) -> None:
    """A cloud sends SIGTERM to `ray start`: Ray drains the node for some seconds, then the node is gone."""
    nodes = cluster.resize(1)
    spot = cluster.add(RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="40")
    lasting = "stages.one.steps=100"  # longer than the notice, also where the machine is fast
    run = start("spot", lasting, JUST_IN_TIME_ONLY, "cluster.failures=0", workers=[1, 2], seconds=0.6)
    run.wait_for_step(1)
    until_both(run, [*nodes, spot])
    run.wait_for_step(run.step + 5)
    at = run.step
    spot.process.send_signal(signal.SIGTERM)
    assert run.end() == 0, run.text
    reference.check(run, 100)
    assert run.worlds[-2:] == [2, 1]
    assert "asks for a checkpoint" in run.history
    assert "lost a worker to pre-emption" in run.history
    assert continued_from(run.history)[-1] >= at


def test_a_worker_hangs(cluster, start, reference) -> None:
    nodes = cluster.resize(2)
    run = start("hangs", "cluster.stall_s=5", workers=2)
    run.wait_for_step(15)
    os.kill(nodes[1].trainers[0], signal.SIGSTOP)
    assert run.end() == 0, run.text
    reference.check(run)
    assert "no answer from the other workers for 5 s" in run.history


def test_an_error_of_the_user_is_not_retried(cluster, start) -> None:
    cluster.resize(1)
    run = start("diverges", "stages.one.optimizer.lr=1e30")
    assert run.end() == 2, run.text
    assert len(run.worlds) == 1
    assert "nan" in run.text or "inf" in run.text
    assert "lower" in run.text
    assert "Traceback" not in run.text


def test_a_bug_of_a_plugin_does_not_restart_forever(cluster, start) -> None:
    cluster.resize(1)
    run = start("bug", "cluster.failures=-1", "stages.one.degrade=[{use: slow, bug: true}]")
    assert run.end() == 2, run.text
    assert "a worker failed twice after step 0: ZeroDivisionError" in run.text


def test_no_worker_process_remains(cluster) -> None:
    """All workers of the runs above have ended."""
    left = [pid for node in cluster.nodes if node.process.poll() is None for pid in node.trainers]
    names = subprocess.run(
        ["ps", "-o", "pid,args", "-p", ",".join(map(str, left or [0]))], capture_output=True, text=True
    )
    assert not left, names.stdout
