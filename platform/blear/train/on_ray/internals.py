"""Every use of Ray's internal names, each with a fallback; those of the trainer and its controller are in `trainer.py`.

Ray may rename internal names at any release. A function of this module imports them when it is called. Without them it
returns None or a plainer object: the user loses a message or a detail, never the run.
`tests/platform/train/test_ray_internals.py` has a test for each name, which fails when Ray changes it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from blear.train.on_ray.cluster_status import ClusterStatus

EXPERIMENT_STATE_FILES = "experiment_state-*.json"
"""Tune's state of a search, in the search's folder (`TuneController.CKPT_FILE_TMPL`)."""
TRIAL_PARAMS_FILE = "params.json"
"""Tune's sampled configuration of a trial, in the trial's folder (`ray.tune.result.EXPR_PARAM_FILE`)."""
TRIAL_RESULTS_FILE = "result.json"
"""Tune's reported results of a trial, one JSON object a line (`ray.tune.result.EXPR_RESULT_FILE`)."""
HEAD_RESOURCE = "node:__internal_head__"
"""Resource that Ray gives to the head node only."""
_LOG_HANDLER = "ray_print_logs"
MISSING = (ImportError, AttributeError, TypeError)
"""What the use of an internal name raises after Ray has changed it."""


def cluster_status() -> ClusterStatus | None:
    """Nodes and free resources of the connected cluster, from the autoscaler's state.

    Fallback: None; the user is not told which nodes are starting.

    Raises:
        ray.exceptions.RayError: the head did not reply.
    """
    try:
        import ray
        from ray.autoscaler.v2.sdk import get_cluster_status

        status = get_cluster_status(ray.get_runtime_context().gcs_address)
        return _parse_status(status)
    except MISSING:
        return None


def _parse_status(status: Any) -> ClusterStatus:
    """Converts `ray.autoscaler.v2.schema.ClusterStatus`."""
    alive = [*status.active_nodes, *status.idle_nodes]
    workers = [node for node in alive if HEAD_RESOURCE not in node.total_resources()]
    heads = {node.ray_node_type_name for node in alive if node not in workers}
    pending = [(node.ray_node_type_name, 1) for node in status.pending_nodes]
    pending += [(launch.ray_node_type_name, launch.count) for launch in status.pending_launches]
    starting: Counter[str] = Counter()
    for name, number in pending:
        starting[name] += number if name not in heads else 0
    return ClusterStatus(
        free=tuple(node.available_resources() for node in alive),
        nodes=Counter(node.ray_node_type_name for node in workers),
        starting=+starting,
        failed={launch.ray_node_type_name: str(launch.details) for launch in status.failed_launches},
        autoscaler=bool(int(status.stats.autoscaler_version or 0)),
        gpus=sum(node.total_resources().get("GPU", 0.0) for node in alive),
    )


def last_cluster() -> str | None:
    """Address of the cluster that `ray start` has started on this machine, running or not; `ray.init` joins it.

    Fallback: None; joining one that does not run any more takes minutes, and fails.
    """
    try:
        from ray._private.utils import read_ray_address
    except MISSING:
        return None
    return read_ray_address() or None


def train_callback_base() -> Any:
    """Base class for a callback of Ray Train that sees worker groups start, resize, fail and shut down.

    Ray's public `UserCallback` sees reports and errors only.

    Fallback: `object`, which Ray Train does not accept as a callback. The stage then trains without its history, and
    without a checkpoint just before a resize or a pre-emption.
    """
    try:
        from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
    except MISSING:
        return object
    return type("StageCallbackBase", (WorkerGroupCallback, ControllerCallback), {})


def health_check_failure(error: BaseException) -> BaseException | None:
    """The error behind Ray Train's `WorkerHealthCheckFailedError`, which it raises for a dead process; else None.

    Fallback: None; the message names Ray's own error instead of "its process or its node died".
    """
    inner = getattr(error, "health_check_failure", None)
    return inner if isinstance(inner, BaseException) else None


def mark_preempted(error: BaseException) -> bool:
    """Marks a `RayActorError` as caused by a pre-emption, so that Ray Train does not count it as a failure.

    Ray marks the error itself if the death of the node arrives before the death of its processes.

    Fallback: False; the pre-emption counts as one of the job's `cluster.failures`.
    """
    if not hasattr(error, "_preempted"):
        return False
    error._preempted = True
    return True


def packaged_files(folder: Path) -> list[Path] | None:
    """Absolute paths of the files that Ray packs from a working directory, by Ray's own walk.

    Fallback: None; the files are uploaded without being listed and checked first.
    """
    try:
        from ray._private.ray_constants import RAY_RUNTIME_ENV_IGNORE_GITIGNORE, get_runtime_env_default_excludes
        from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

        quiet = logging.getLogger(f"{__name__}.packaging")
        quiet.setLevel(logging.WARNING)
        files: list[Path] = []
        uses_gitignore = os.environ.get(RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
        excludes = [_get_excludes(folder, get_runtime_env_default_excludes())]
        _dir_travel(folder, excludes, files.append, include_gitignore=uses_gitignore, logger=quiet)
    except MISSING:
        return None
    return [path for path in files if path.is_file()]


def hyperband_scheduler(max_t: int, **options: Any) -> Any:
    """Tune's HyperBand, which starts with the bracket that stops the most trials and fills each bracket once.

    Tune itself starts with the bracket that stops no trial, and adds a new trial to it for each one that leaves, so
    that a search with few trials never starts another bracket.

    Args:
        max_t: reports of a whole trial.
        options: of `ray.tune.schedulers.HyperBandScheduler`.

    Fallback: Tune's own scheduler.
    """
    from ray.tune.schedulers import HyperBandScheduler

    class FullBracketHyperBand(HyperBandScheduler):
        def __init__(self, max_t: int, **options: Any) -> None:
            super().__init__(max_t=max_t, **options)
            self._s_max_1 = int(math.log2(max_t)) + 1  # rounded up, the first report of a bracket would be number 0

        def _create_bracket(self, s: int) -> Any:
            bracket = super()._create_bracket(self._s_max_1 - 1 - s)
            if hasattr(bracket, "_all_trials") and hasattr(bracket, "_n0"):
                bracket.filled = lambda: len(bracket._all_trials) >= bracket._n0
            return bracket

    plain = HyperBandScheduler(max_t=max_t, **options)
    known = hasattr(plain, "_s_max_1") and hasattr(plain, "_create_bracket")
    return FullBracketHyperBand(max_t, **options) if known else plain


@contextlib.contextmanager
def only_lost_trials_restart() -> Iterator[None]:
    """While the block runs, Tune restarts a trial whose process or node died; an error that a trial raised ends it.

    Tune itself counts both as failures of `FailureConfig.max_failures`.

    Fallback: trials with errors of their own are restarted too.
    """
    try:
        from ray.exceptions import RayTaskError
        from ray.tune.experiment import Trial

        kind: Any = Trial
        original = kind.handle_error
    except MISSING:
        yield
        return

    def handle_error(self: Any, exc: Any = None) -> None:
        original(self, exc)
        if isinstance(exc, RayTaskError):
            self.max_failures = 0

    kind.handle_error = handle_error
    try:
        yield
    finally:
        kind.handle_error = original


def can_continue_search(folder: Path) -> bool:
    """Whether Tune has saved the state of a search in `folder`.

    Fallback: False; the search starts anew, and trials that the earlier one finished are trained again.
    """
    return any(folder.glob(EXPERIMENT_STATE_FILES))


def sampled_params(trial_folder: Path) -> Path | None:
    """Tune's file with the configuration of a trial; None before the trial started.

    Fallback: None; a trial that failed before its first report is listed without its configuration.
    """
    path = trial_folder / TRIAL_PARAMS_FILE
    return path if path.is_file() else None


def replace_worker_log_printer(printer: Callable[[Mapping[str, Any]], None]) -> bool:
    """Replaces the function with which the connected driver prints the output of worker processes.

    Fallback: False; Ray prints its own lines too.
    """
    try:
        from ray._private.ray_logging import global_worker_stdstream_dispatcher as dispatcher

        if not any(name == _LOG_HANDLER for name, _ in dispatcher.handlers):
            return False
        dispatcher.remove_handler(_LOG_HANDLER)
        dispatcher.add_handler(_LOG_HANDLER, printer)  # Ray removes the handler of this name when it disconnects
        from ray._private import worker

        worker.print_to_stdstream = lambda data, ignore_prefix: printer(data)  # of errors that the head reports
    except MISSING:
        return False
    return True
