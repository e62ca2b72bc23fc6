"""Lines of Ray's processes that a user sees. The batches are those of a real job with two workers (Ray 2.60)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from blear.train.on_ray.worker_logs import WorkerLogPrinter, is_job_manager_line, own_lines

CONTROLLER = [
    "Requesting resources: {'CPU': 1} * 2",
    "[2026-11-29 06:03:21,321 E 23595 25003] core_worker.cc:2465: Actor with class name: 'PreemptionWatcher'",
    "Started training worker group of size 2: ",
    "- (ip=192.0.2.2, pid=26403) world_rank=0, local_rank=0, node_rank=0",
]
CLEANER = ["Exception in thread PlacementGroupCleanerMonitor:", "Traceback (most recent call last):"]
WORKER = [
    "Setting up process group for: env:// [rank=0, world_size=2]",
    "Moving model to device: cpu",
    "Reporting training result 1: TrainingReport(checkpoint=None, metrics={'step': 68}, validation=False) from rank 0",
    "Wrapping provided model in DistributedDataParallel.",
    "[2026-11-29 06:03:21,321 E 26403 25003] core_worker.cc:2465: a line of the core",
    "[2026-11-29 06:03:21,321 F 26403 25003] core_worker.cc:99: a fatal one",
    "stage only: 6/6, 1 s  loss 0.1877",
]


def batch(actor: str | None, lines: list[str], pid: object = 7) -> dict[str, object]:
    return {"actor_name": actor, "task_name": None, "pid": pid, "ip": "192.0.2.2", "is_err": True, "lines": lines}


def test_ray_s_own_lines_are_left_out() -> None:
    assert own_lines(batch("TrainController", CONTROLLER)) == []
    assert own_lines(batch("PlacementGroupCleaner", CLEANER)) == []
    assert own_lines(batch("RayTrainWorker", WORKER)) == WORKER[5:]
    assert own_lines(batch(None, ["a task of ours"])) == ["a task of ours"]
    usage = ["Resources", " 0B/12.94GiB memory", " 3.66KiB/5.55GiB object_store_memory"]
    assert own_lines(batch(None, usage, "autoscaler")) == []
    retried = ["Task predict failed. There are 3 retries remaining, so the task will be retried. Error: gone"]
    assert own_lines(batch(None, retried, "raylet")) == []
    assert own_lines(batch(None, ["1 task killed\n  a dump of the state"], "raylet")) == ["1 task killed"]
    assert own_lines(batch(None, ["Tip: use `ray status`", "1 task killed, low on memory"], "raylet")) == [
        "1 task killed, low on memory"
    ]
    assert is_job_manager_line("2026-11-29 05:59:33,295\tINFO job_manager.py:581 -- Runtime env is setting up.")
    assert is_job_manager_line("Running entrypoint for job tiny-1: blear run job.yaml --runner ray")
    assert not is_job_manager_line("run folder: runs/tiny")


def test_a_worker_that_ray_ends_prints_no_traceback() -> None:
    ended = [
        "Exception ignored in: <function WeakSet.__init__.<locals>._remove at 0x7fc3a2d4fa60>",
        "Traceback (most recent call last):",
        '  File "ray/_private/worker.py", line 1063, in sigterm_handler',
        "    raise_sys_exit_with_custom_error_message(",
        "SystemExit: 1",
    ]
    error = ["Traceback (most recent call last):", '  File "plugin.py", line 3, in apply', "ValueError: three"]
    assert own_lines(batch("RayTrainWorker", ended)) == []
    assert own_lines(batch(None, ["before", *ended, "after"])) == ["before", "after"]
    assert own_lines(batch(None, ["before", "", *ended])) == ["before", ""]
    assert own_lines(batch(None, [*error, *ended[1:], *error])) == [*error, *error]
    assert own_lines(batch(None, [*error, "SystemExit: 1"])) == [*error, "SystemExit: 1"]


def test_lines_of_several_workers_are_printed_once_and_the_log_has_all(
    capsys: pytest.CaptureFixture[str], logged: Callable[..., list[str]]
) -> None:
    printer = WorkerLogPrinter()
    printer(batch("TrainController", CONTROLLER))
    printer(batch("RayTrainWorker", WORKER, 1))
    printer(batch("RayTrainWorker", WORKER, 2))
    assert capsys.readouterr().err.splitlines() == WORKER[5:]
    assert len(logged(logging.DEBUG)) == len(CONTROLLER) + 2 * len(WORKER)
