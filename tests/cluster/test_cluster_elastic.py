"""Workers and nodes that die, join, leave or hang: samples and losses equal those of an uninterrupted run."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

import pytest
from cluster_run import LONG

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


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
    run.wait_for("a worker on each node", both_train(nodes))
    run.wait_for("an attempt of two workers", lambda: run.worlds[-1:] == [2])


def test_a_worker_process_is_killed_then_one_gets_sigterm(cluster, start, reference) -> None:
    nodes = cluster.resize(2)
    run = start("killed", workers=2)
    run.wait_for_step(15)
    os.kill(nodes[1].trainers[0], signal.SIGKILL)
    run.wait_for("a second attempt", lambda: run.worlds == [2, 2])
    run.wait_for_step(23)
    os.kill(nodes[0].trainers[0], signal.SIGTERM)
    run.wait_for("a third attempt", lambda: len(continued_from(run.history)) == 2)
    assert run.end() == 0, run.text
    reference.check(run)
    assert run.worlds == [2, 2, 2]
    assert "lost a worker" in run.history
    killed, terminated = continued_from(run.history)
    assert killed == 10
    assert terminated >= 23, "a checkpoint was written after SIGTERM"
    assert "no step is done again" in run.history.splitlines()[-1]
    assert "stage one: lost a worker" in run.text, "the user is told"


def test_a_node_dies_another_joins_and_is_preempted(cluster, start, reference) -> None:
    """A cloud sends SIGTERM to `ray start`: Ray drains the node for some seconds, then the node is gone.

    `cluster.failures` permits the first loss only: a pre-emption is not counted.
    """
    kept, dead = cluster.resize(2)
    run = start("changes", f"stages.one.steps={LONG}", "cluster.failures=1", workers=[1, 2], seconds=0.5)
    run.wait_for_step(1)
    until_both(run, [kept, dead])
    run.wait_for_step(run.step + 5)
    dead.kill()
    run.wait_for("an attempt of one worker", lambda: run.worlds[-1:] == [1])
    spot = cluster.add(RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="15")
    until_both(run, [kept, spot])
    grown = run.history
    run.wait_for_step(run.step + 5)
    at = run.step
    spot.process.send_signal(signal.SIGTERM)
    run.wait_for("the pre-emption", lambda: "lost a worker to pre-emption" in run.history)
    assert run.end() == 0, run.text
    reference.check(run, LONG)
    assert run.worlds[-4:] == [2, 1, 2, 1]
    assert "lost a worker" in grown
    log = run.stage.parents[1] / "run.log"
    assert "startup timed out" not in log.read_text(), "no worker is sought on a node that is gone"
    assert "goes from 1 to 2 workers" in grown
    assert "no step is done again" in grown.splitlines()[-1], "a checkpoint was written just before"
    preempted = run.history.removeprefix(grown)
    assert "asks for a checkpoint" in preempted
    assert "lost a worker to pre-emption" in preempted
    assert continued_from(preempted)[-1] >= at


def test_a_worker_hangs(cluster, start, reference) -> None:
    nodes = cluster.resize(2)
    run = start("hangs", "cluster.stall_s=5", workers=2)
    run.wait_for_step(5)
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
