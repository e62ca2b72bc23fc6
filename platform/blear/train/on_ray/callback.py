"""Callback of Ray Train's controller: stops on user errors, requests checkpoints, writes the stage's history."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from blear.errors import BlearError, RunError
from blear.progress import duration
from blear.storage.shared_run import SharedRun
from blear.train.checkpoint import list_checkpoints
from blear.train.on_ray import internals
from blear.train.on_ray.history import append_history, read_last_step
from blear.train.on_ray.worker import (
    CheckpointReason,
    install_sigterm_handler,
    request_checkpoint,
    requested_checkpoint_written,
)

_CALL_S = 10.0
_FINAL_CHECKPOINT_S = 10.0
_WRITTEN_WITHIN_S = 60.0
_CallbackBase: Any = internals.train_callback_base()


def _optional(hook: Callable[..., None]) -> Callable[..., None]:
    """A hook that fails because Ray's internal objects changed is switched off; training goes on."""

    @functools.wraps(hook)
    def guarded(self: StageCallback, *args: Any, **kwargs: Any) -> None:
        if hook.__name__ in self._disabled:
            return
        try:
            hook(self, *args, **kwargs)
        except (AttributeError, TypeError) as error:
            self._disabled.add(hook.__name__)
            reason = f"{type(error).__name__}: {error}"
            append_history(
                self._folder, f"stage {self._stage}: {hook.__name__} does not fit this version of Ray ({reason})"
            )

    return guarded


class WaitedTooLong(RunError):
    """No worker of a stage could be started within `cluster.wait_s`."""


class StageCallback(_CallbackBase):
    """Follows the worker groups of one stage. Ray Train calls the methods of this class in its controller process.

    Args:
        stage: name of the stage.
        folder: the stage's folder.
        wait_s: seconds to wait for the resources of the workers.
        shared: the run; None: all nodes share its folder.
    """

    def __init__(self, stage: str, folder: Path, wait_s: float, shared: SharedRun | None = None) -> None:
        self._stage, self._folder, self._wait_s, self._shared = stage, folder, wait_s, shared or SharedRun()
        self._waits_since: float | None = None
        self._group: Any = None
        self._healthy = self._draining = False
        self._world_size, self._restart_reason, self._final_checkpoint_s = 0, "", 0.0
        self._last_failure: tuple[str, int] | None = None
        self._disabled: set[str] = set()

    @_optional
    def after_worker_group_start(self, worker_group: Any) -> None:
        """The processes run; training has not started."""
        worker_group.execute(install_sigterm_handler)

    @_optional
    def after_worker_group_training_start(self, worker_group: Any) -> None:
        """Writes the step from which the workers continue, and the number of repeated steps, to the history."""
        self._group, self._healthy, self._draining, self._waits_since = worker_group, True, False, None
        world_size, (first, last) = len(worker_group), self._progress()
        if self._world_size or first:
            resized = f"goes from {self._world_size} to {_workers(world_size)}" if self._world_size else "goes on"
            again = max(0, last - first)
            done_again = f"{again} steps are done again" if again else "no step is done again"
            at = f" at step {max(first, last)}" if self._world_size else ""
            append_history(
                self._folder,
                f"stage {self._stage}: {self._restart_reason or resized}{at}; continues from step {first} with "
                f"{_workers(world_size)}; {done_again}",
            )
        self._world_size, self._restart_reason = world_size, ""

    @_optional
    def after_worker_group_poll_status(self, worker_group_status: Any) -> None:
        """Handles errors of the workers, and notices of pre-emption.

        Raises:
            BlearError: a worker raised it. Ray does not retry an error that is raised here.
            RunError: the same error occurred at the same step twice, so a further restart would not help.
        """
        errors: dict[int, BaseException] = worker_group_status.errors
        for error in errors.values():
            own = root_error(error)
            if isinstance(own, BlearError):
                raise own
        if errors and self._draining:  # announced, and written to the history
            self._healthy = False
            _mark_preempted(errors)
        elif errors and self._healthy:
            self._healthy = False
            rank, error = min(errors.items(), key=lambda item: internals.health_check_failure(item[1]) is None)
            self._handle_failure(f"rank {rank} of {self._world_size}", describe_error(error), lost=_is_lost(error))
        preemption = worker_group_status.get_preemption_info()
        if preemption is not None and self._healthy:
            self._handle_preemption(preemption)

    @_optional
    def before_controller_execute_resize_decision(self, resize_decision: Any) -> None:
        """Makes the running group write a checkpoint before a group of another size replaces it: no step is lost."""
        ready = self._group is not None and self._healthy and not self._draining
        if not ready or not self._request_checkpoint(CheckpointReason.STOP):
            return
        until = time.monotonic() + _WRITTEN_WITHIN_S
        while time.monotonic() < until:
            try:
                written = ray.get(self._group.execute_async(requested_checkpoint_written), timeout=_CALL_S)
            except RayError:
                return
            if all(written):
                return
            time.sleep(0.2)

    @_optional
    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Ends a stage that has waited too long for its workers. Ray calls it at least once a minute.

        Raises:
            WaitedTooLong: no worker was started within `wait_s`. Ray does not retry an error that is raised here.
        """
        if self._group is not None or current_state.is_terminal():
            self._waits_since = None
            return
        now = time.monotonic()
        self._waits_since = now if self._waits_since is None else self._waits_since
        if now - self._waits_since > self._wait_s:
            self._waits_since = None
            what = f"gave up after {duration(self._wait_s)} (cluster.wait_s)"
            do = "change the cluster or the job, and give the same command; a GPU is not needed with cluster.gpu=false"
            raise WaitedTooLong(what, f"stage {self._stage}", do)

    @_optional
    def before_worker_group_shutdown(self, worker_group: Any) -> None:
        """Stops requests to the group."""
        self._group, self._healthy = None, False

    def _progress(self) -> tuple[int, int]:
        """Step of the newest checkpoint, and the last finished step."""
        if (found := self._shared.stage_progress(self._folder)) is not None:
            return found
        checkpoints = list_checkpoints(self._folder / "checkpoints")
        first = int(checkpoints[-1].name.removeprefix("step-")) if checkpoints else 0
        return first, read_last_step(self._folder)

    def _handle_failure(self, worker: str, error: str, *, lost: bool) -> None:
        """Remembers why the group restarts; ends the run when an error repeats at the same step."""
        self._restart_reason = f"lost a worker ({worker}: {error})" if lost else f"a worker failed ({worker}: {error})"
        failure = None if lost else (error, self._progress()[1])
        if failure is not None and failure == self._last_failure:
            do = "fix it and give the same command: it continues from the newest checkpoint"
            raise RunError(f"a worker failed twice after step {failure[1]}: {error}", f"stage {self._stage}", do)
        self._last_failure = failure

    def _handle_preemption(self, preemption: Any) -> None:
        """Requests a checkpoint at the notice, and one just before the deadline, after which the workers exit.

        Ray then restarts them on the other nodes. Without the exit it would wait for the deadline, or for the node if
        that stays longer.
        """
        left = None if preemption.deadline_ms is None else preemption.deadline_ms / 1000 - time.time()
        if not self._draining:
            self._draining, self._final_checkpoint_s = True, min(_FINAL_CHECKPOINT_S, (left or 0) / 2)
            ranks = ", ".join(map(str, preemption.preempted_ranks))
            when = "" if left is None else f" in {left:.0f} s"
            append_history(
                self._folder, f"stage {self._stage}: the node of worker {ranks} goes{when}; asks for a checkpoint"
            )
            self._restart_reason = f"lost a worker to pre-emption (rank {ranks} of {self._world_size})"
            self._request_checkpoint(CheckpointReason.DRAIN)
        elif left is not None and left < self._final_checkpoint_s:
            self._final_checkpoint_s = 0.0
            self._request_checkpoint(CheckpointReason.EXIT)

    def _request_checkpoint(self, reason: CheckpointReason) -> bool:
        """Returns whether every worker received the request."""
        try:
            ray.get(self._group.execute_async(request_checkpoint, reason), timeout=_CALL_S)
        except RayError:  # a worker is dead; Ray notices it at its next poll
            return False
        return True


def _mark_preempted(errors: dict[int, BaseException]) -> None:
    """Processes that exit before their node does would count as a failure of the run. Each poll has new errors."""
    for error in errors.values():
        died = internals.health_check_failure(error) or error
        if isinstance(died, RayActorError):
            internals.mark_preempted(died)


def root_error(error: BaseException) -> BaseException:
    """The BlearError that a worker raised, without Ray's wrappers; else the innermost error."""
    while not isinstance(error, BlearError):
        names = ("controller_failure", "health_check_failure", "cause", "__cause__")
        inner = next((found for name in names if isinstance(found := getattr(error, name, None), BaseException)), None)
        if inner is None:
            return error
        error = inner
    return error


def describe_error(error: BaseException) -> str:
    """A worker's error in a few words."""
    inner = root_error(error)
    if _process_died(error):
        return "its process or its node died"
    if _is_lost(error):
        return "its connection to another worker broke"
    lines = str(inner).splitlines()
    return f"{type(inner).__name__}: {lines[0]}" if lines else type(inner).__name__


def _process_died(error: BaseException) -> bool:
    return internals.health_check_failure(error) is not None or isinstance(root_error(error), RayActorError)


def _is_lost(error: BaseException) -> bool:
    """Whether a process died, or a collective failed because another process died, which is often reported first."""
    text = str(root_error(error))
    return _process_died(error) or "gloo/transport" in text or "NCCL" in text


def _workers(count: int) -> str:
    return f"{count} worker{'' if count == 1 else 's'}"
