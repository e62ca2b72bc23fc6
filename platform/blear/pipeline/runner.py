"""Chooses where a job runs: in this process or on Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from blear.errors import JobError, RunError
from blear.job.schema import Job
from blear.progress import echo
from blear.storage.root import storage_url
from blear.storage.transient import retry_transient
from blear.train.on_ray import internals
from blear.train.on_ray.cluster_status import autoscaler_config_file, read_autoscaler_limits
from blear.train.on_ray.tcp_probe import listens
from blear.train.on_ray.worker_logs import WorkerLogPrinter

_OWN_CLUSTER = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # this machine does not leave the cluster
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # seconds until the end of a stage is noticed; 2 by default
    "RAY_enable_metrics_collection": "0",  # there is no dashboard
    "RAY_prestart_worker_first_driver": "0",  # these processes would wait for tasks that do not come
}
"""Ray's settings for a cluster that blear starts on this machine; without them it runs more processes.

A variable that the user has set keeps its value.
"""


def uses_ray(runner: str) -> bool:
    """Whether Ray is used: if `runner` is "ray", or if it is "auto" and RAY_ADDRESS is set, as in every Ray job."""
    return runner == "ray" or (runner == "auto" and bool(os.environ.get("RAY_ADDRESS")))


def require_linux() -> None:
    """Refuses other systems: decoded frames are shared between processes through Linux's memory files.

    Raises:
        RunError: this is not Linux.
    """
    if sys.platform != "linux":
        do = "use a Linux computer; on Windows, WSL 2; on a Mac, a Linux container"
        raise RunError("blear prepares, trains and evaluates on Linux only", sys.platform, do)


def with_workers(job: Job, *, local: bool) -> Job:
    """Returns a job whose `cluster.workers: auto` is a number of workers: one for each GPU, else one.

    Args:
        local: the GPUs of this machine; else those of the connected cluster, with those that its autoscaler may add.
    """
    if job.cluster.workers != "auto":
        return job
    workers: int | tuple[int, int] = 1
    if job.cluster.gpu is not False and job.search is None:
        now, most = _gpus_here() if local else _gpus_of_cluster()
        workers = (1, most) if most > now else max(1, now)
    cluster = job.cluster.model_copy(update={"workers": workers})
    return job.model_copy(update={"cluster": cluster})


def _gpus_here() -> tuple[int, int]:
    import torch

    count = torch.cuda.device_count()
    return count, count


def _gpus_of_cluster() -> tuple[int, int]:
    """GPUs that are there, and GPUs that may be there."""
    import ray

    now = int(ray.cluster_resources().get("GPU", 0))
    limits = read_autoscaler_limits(autoscaler_config_file())
    if limits is None:
        return now, now
    nodes = [int(kind.resources.get("GPU", 0)) for kind in limits.types for _ in range(kind.limit)]
    return now, max(now, sum(sorted(nodes, reverse=True)[: limits.workers]))


def trains_on_ray(job: Job, runner: str) -> bool:
    """Whether Ray trains the stages: as `uses_ray`, and with "auto" if the job has several workers.

    Without RAY_ADDRESS, a cluster is started in this process.
    """
    return uses_ray(runner) or (runner == "auto" and job.search is None and job.cluster.workers != 1)


def check_resources(job: Job, *, on_ray: bool, local: bool) -> None:
    """Checks that this machine has what the job asks for, where nothing else can provide it.

    Args:
        on_ray: whether Ray trains the stages.
        local: whether no running cluster is used.

    Raises:
        JobError: the machine has no GPU, or too few CPUs for the workers.
    """
    if not local:
        return
    cluster = job.cluster
    if cluster.gpu is True:
        from blear.train.worker import local_device

        local_device(True)
    if not on_ray:
        if cluster.workers != 1:
            echo("cluster.workers is not used: one worker trains without Ray")
        return
    least, _ = cluster.worker_range
    wanted, cores = least * cluster.cpus_per_worker, os.cpu_count() or 1
    if wanted > cores:
        what = f"{least} workers need {wanted:g} CPUs, this machine has {cores}"
        raise JobError(what, "cluster.workers", "lower it or cluster.cpus_per_worker, or set RAY_ADDRESS")


@contextlib.contextmanager
def ray_session(wanted: bool, *, local: bool = False) -> Iterator[None]:
    """Connects to Ray for the duration of the block, unless this process is connected already.

    Args:
        wanted: whether to use Ray at all.
        local: whether to start a cluster in this process instead of joining a running one.

    Raises:
        RunError: the head of the cluster in RAY_ADDRESS does not answer within two minutes.
    """
    if not wanted:
        yield
        return
    import ray

    if ray.is_initialized():
        yield
        return
    address = "" if local else os.environ.get("RAY_ADDRESS", "")
    last = internals.last_cluster() if not local and address in ("", "auto") else None
    if last is not None and address == "auto":
        address = last
    elif last is not None and not _answers(last):
        echo(f"the Ray cluster of this machine ({last}) has ended: another one is started")
        local = True
    options: dict[str, Any] = {"address": "local", "include_dashboard": False} if local else {}
    if (url := storage_url()) is not None and not local and "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:
        options["runtime_env"] = {"env_vars": {"BLEAR_STORAGE": url}}  # a submitted job has that of its cluster

    def connect() -> None:
        if not _answers(address):
            raise ConnectionError(address)  # Ray itself would try for minutes, and print warnings
        ray.init(logging_level=logging.WARNING, **options)

    with _default_variables(_OWN_CLUSTER if local else {}):
        try:
            retry_transient(connect, _no_head, address or "this machine")
        except ConnectionError as error:
            do = "start the cluster, or change RAY_ADDRESS; without RAY_ADDRESS, this machine alone computes"
            raise RunError("the head of the Ray cluster does not answer", address or "Ray", do) from error
        internals.replace_worker_log_printer(WorkerLogPrinter())
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _default_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets the environment variables that are not set yet, for the duration of the block."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _answers(address: str) -> bool:
    """Whether a process listens at host:port; true for addresses of another form, which Ray resolves."""
    match = re.fullmatch(r"([\w.-]+|\[[\da-fA-F:]+\]):(\d+)", address)
    return match is None or listens((match[1].strip("[]"), int(match[2])))


def _no_head(error: Exception) -> str | None:
    """A few words on the error of a cluster whose head does not answer yet; None for other errors."""
    absent = isinstance(error, ConnectionError) or "connect to GCS" in str(error)
    return "the head of the cluster does not answer" if absent else None
