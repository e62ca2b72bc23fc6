"""Runs beside Ray Train's controller: ends a run on a person's mistake, asks for checkpoints, writes the history."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback

from blear.errors import BlearError, RunError
from blear.train.checkpoint import list_steps
from blear.train.on_ray.history import note, reached
from blear.train.on_ray.worker import Reason, ask_for_checkpoint, has_answered, listen_for_sigterm

_CALL_S = 10.0
_LAST_CALL_S = 10.0
_ANSWER_S = 60.0


class Watch(WorkerGroupCallback, ControllerCallback):
    """Follows the worker groups of one stage.

    Ray's public callback sees reports and errors only; that a group was started, is resized or is pre-empted is seen
    by these internal ones, which `RunConfig(callbacks=...)` takes too.

    Args:
        stage: name of the stage.
        folder: the stage's folder.
    """

    def __init__(self, stage: str, folder: Path) -> None:
        self._stage, self._folder = stage, folder
        self._group: Any = None
        self._healthy = self._draining = False
        self._gone: frozenset[int] = frozenset()
        self._world, self._why, self._last_call = 0, "", 0.0
        self._last_failure: tuple[str, int] | None = None

    def after_worker_group_start(self, worker_group: Any) -> None:
        """The processes are there, training has not begun."""
        worker_group.execute(listen_for_sigterm)

    def after_worker_group_training_start(self, worker_group: Any) -> None:
        """Says where the workers continue and what is done again."""
        self._group, self._healthy, self._draining = worker_group, True, False
        world, steps = len(worker_group), list_steps(self._folder / "checkpoints")
        first, last = int(steps[-1].name.removeprefix("step-")) if steps else 0, reached(self._folder)
        if self._world or first:
            why = self._why or (f"goes from {self._world} to {_workers(world)}" if self._world else "goes on")
            again = max(0, last - first)
            done_again = f"{again} steps are done again" if again else "no step is done again"
            at = f" at step {max(first, last)}" if self._world else ""
            note(
                self._folder,
                f"stage {self._stage}: {why}{at}; continues from step {first} with {_workers(world)}; {done_again}",
            )
        self._world, self._why = world, ""

    def after_worker_group_poll_status(self, worker_group_status: Any) -> None:
        """Looks at what the workers raised and at nodes that are to be taken away.

        Raises:
            BlearError: a worker's own; Ray does not retry what is raised here.
            RunError: the same error came at the same step again, so it will come for ever.
        """
        errors: dict[int, BaseException] = worker_group_status.errors
        for error in errors.values():
            own = root(error)
            if isinstance(own, BlearError):
                raise own
        if errors and self._healthy:
            self._healthy = False
            if self._draining:  # announced, and said so
                self._tell_ray_why(errors)
                return
            rank, error = min(errors.items(), key=lambda item: not isinstance(item[1], WorkerHealthCheckFailedError))
            self._failed(f"rank {rank} of {self._world}", cause(error), lost=_is_lost(error))
        preemption = worker_group_status.get_preemption_info()
        if preemption is not None and self._healthy:
            self._drained(preemption)

    def before_controller_execute_resize_decision(self, resize_decision: Any) -> None:
        """Before a healthy group is replaced by one of another size it writes a checkpoint, so that no step is lost."""
        if self._group is None or not self._healthy or self._draining or not self._tell(Reason.STOP):
            return
        until = time.monotonic() + _ANSWER_S
        while time.monotonic() < until:
            try:
                answers = ray.get(self._group.execute_async(has_answered), timeout=_CALL_S)
            except RayError:
                return
            if all(answers):
                return
            time.sleep(0.2)

    def before_worker_group_shutdown(self, worker_group: Any) -> None:
        """The group is not asked for anything any more."""
        self._group, self._healthy = None, False

    def _failed(self, who: str, why: str, *, lost: bool) -> None:
        self._why = f"lost a worker ({who}: {why})" if lost else f"a worker failed ({who}: {why})"
        failure = None if lost else (why, reached(self._folder))
        if failure is not None and failure == self._last_failure:
            do = "mend it and give the same command: it continues from the newest checkpoint"
            raise RunError(f"a worker failed twice after step {failure[1]}: {why}", f"stage {self._stage}", do)
        self._last_failure = failure

    def _drained(self, preemption: Any) -> None:
        """A checkpoint at the notice; and one just before the end, after which the workers stand still.

        A worker that stands still raises nothing when another one is gone, so Ray counts a pre-emption, not a failure.
        """
        left = None if preemption.deadline_ms is None else preemption.deadline_ms / 1000 - time.time()
        if not self._draining:
            self._draining, self._last_call = True, min(_LAST_CALL_S, (left or 0) / 2)
            ranks = ", ".join(map(str, preemption.preempted_ranks))
            when = "" if left is None else f" in {left:.0f} s"
            note(self._folder, f"stage {self._stage}: the node of worker {ranks} goes{when}; asks for a checkpoint")
            self._why = f"lost a worker to pre-emption (rank {ranks} of {self._world})"
            self._gone = frozenset(preemption.preempted_ranks)
            self._tell(Reason.DRAIN)
        elif left is not None and left < self._last_call:
            self._last_call = 0.0
            self._tell(Reason.STOP)

    def _tell_ray_why(self, errors: dict[int, BaseException]) -> None:
        """A node's processes may be missed before the node is: Ray would count their end as a failure of the run."""
        for rank in self._gone & errors.keys():
            error = errors[rank]
            inner = error.health_check_failure if isinstance(error, WorkerHealthCheckFailedError) else error
            if isinstance(inner, RayActorError):
                inner._preempted = True

    def _tell(self, reason: Reason) -> bool:
        try:
            ray.get(self._group.execute_async(ask_for_checkpoint, reason), timeout=_CALL_S)
        except RayError:  # a worker is dead, which Ray finds out by itself
            return False
        return True


def root(error: BaseException) -> BaseException:
    """The BlearError that a worker raised, out of Ray's wrapping; else the innermost error."""
    while not isinstance(error, BlearError):
        names = ("controller_failure", "health_check_failure", "cause", "__cause__")
        inner = next((found for name in names if isinstance(found := getattr(error, name, None), BaseException)), None)
        if inner is None:
            return error
        error = inner
    return error


def cause(error: BaseException) -> str:
    """A worker's error in a few words."""
    inner = root(error)
    if isinstance(error, WorkerHealthCheckFailedError) or isinstance(inner, RayActorError):
        return "its process or its node died"
    if _is_lost(error):
        return "its connection to another worker broke"
    lines = str(inner).splitlines()
    return f"{type(inner).__name__}: {lines[0]}" if lines else type(inner).__name__


def _is_lost(error: BaseException) -> bool:
    """Whether a process died, or what the others raise then, often before it is missed."""
    inner = root(error)
    if isinstance(error, WorkerHealthCheckFailedError) or isinstance(inner, RayActorError):
        return True
    return "gloo/transport" in str(inner) or "NCCL" in str(inner)


def _workers(count: int) -> str:
    return f"{count} worker{'' if count == 1 else 's'}"
