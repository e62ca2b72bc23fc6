"""Calls of functions in worker processes of the connected Ray cluster."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from blear.errors import RunError, first_line
from blear.plugin.code_digest import call_with_code, code_digest

Result = TypeVar("Result")

_AGAIN = "see the cluster's log, fix the cause and give the same command: it continues"


def remote_task(
    function: Callable[..., Any], *, name: str, cpus: float, gpus: float, retries: int
) -> Callable[..., Any]:
    """A function as a Ray task: each call returns a reference. A task on a node with other code of blear fails.

    Args:
        name: of the task, for Ray's dashboard.
        cpus, gpus: resources that the task reserves.
        retries: repetitions after the death of a worker process or a node; -1: unlimited.
    """
    import ray

    task = ray.remote(call_with_code).options(
        name=name, num_cpus=cpus, num_gpus=gpus, max_retries=retries, retry_exceptions=False
    )
    return functools.partial(task.remote, code_digest(), function)


def call_on_worker(
    function: Callable[..., Result], *arguments: Any, name: str, cpus: float = 1.0, gpus: float = 0.0, retries: int = 3
) -> Result:
    """Calls a function in a worker process and returns its result, so that the driver computes nothing heavy.

    Raises:
        RunError: the worker process or its node died more than `retries` times; an exception of the function is raised
            unchanged.
    """
    import ray

    with task_errors(name):
        reference = remote_task(function, name=name, cpus=cpus, gpus=gpus, retries=retries)(*arguments)
        with cancelled_on_error([reference]):
            result: Result = ray.get(reference)
            return result


@contextlib.contextmanager
def task_errors(where: str) -> Iterator[None]:
    """Context that raises the exception of a task unchanged, and a RunError for a lost worker."""
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise RunError(f"a worker was lost: {first_line(error)}", where, _AGAIN) from error


@contextlib.contextmanager
def cancelled_on_error(references: Iterable[Any]) -> Iterator[None]:
    """Context that cancels the tasks of a collection, which may change, when an error or Ctrl-C leaves the block."""
    from blear.data.prepare.cancel_tasks import cancel_tasks

    try:
        yield
    except BaseException:
        cancel_tasks(references)
        raise


def fits_on_a_node(cpus: float, gpus: float) -> bool:
    """Whether a running node of the cluster has these resources in total."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    needed = {"CPU": cpus, "GPU": gpus}
    return any(
        all(node.get(name, 0.0) >= amount or math.isclose(amount, 0) for name, amount in needed.items())
        for node in nodes
    )
