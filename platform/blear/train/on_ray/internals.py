"""Every use of Ray's internal names, in one place, each with a fallback.

Ray may rename internal names at any release. A function of this module imports them when it is called. Without them it
returns None or a plainer object: the user loses a message or a detail, never the run.
`tests/platform/train/test_ray_internals.py` has a test for each name, which fails when Ray changes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from blear.train.on_ray.cluster_status import ClusterStatus
from blear.train.on_ray.tcp_probe import listening

EXPERIMENT_STATE_FILES = "experiment_state-*.json"
"""Tune's state of a search, in the search's folder (`TuneController.CKPT_FILE_TMPL`)."""
TRIAL_PARAMS_FILE = "params.json"
"""Tune's sampled configuration of a trial, in the trial's folder (`ray.tune.result.EXPR_PARAM_FILE`)."""
TRIAL_RESULTS_FILE = "result.json"
"""Tune's reported results of a trial, one JSON object a line (`ray.tune.result.EXPR_RESULT_FILE`)."""
HEAD_RESOURCE = "node:__internal_head__"
"""Resource that Ray gives to the head node only."""
_LOG_HANDLER = "ray_print_logs"
_MISSING = (ImportError, AttributeError, TypeError)


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
    except _MISSING:
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
    except _MISSING:
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
    except _MISSING:
        return object
    return type("StageCallbackBase", (WorkerGroupCallback, ControllerCallback), {})


def torch_trainer(*, in_driver: bool) -> Any:
    """Ray Train's `TorchTrainer` without the actors that a stage does not need: each one is another Python process.

    - `TrainController` controls the workers, `PreemptionWatcher` asks whether their nodes stay. In a driver and in a
      trial, both run in that process, which waits for them anyway: a stage starts some seconds earlier.
    - `DatasetManager` serves Ray Data, which blear does not use.
    - `PlacementGroupCleaner` frees the resources of a stage whose controller died; it also delays the end of every
      stage by about 10 seconds. A driver ends with such a stage, which frees them too.

    Args:
        in_driver: whether the driver ends with a failed stage, as it does in the driver and in its tasks. In a trial
            of a search, which is an actor, it does not.

    Fallback: `TorchTrainer` itself, with these actors.
    """
    from ray.train.torch import TorchTrainer

    base: Any = TorchTrainer
    unused = {"DatasetsCallback"} | ({"PlacementGroupCleanerCallback"} if in_driver else set())
    if not hasattr(base, "_create_default_callbacks"):
        return base

    class PlainTorchTrainer(base):
        def _create_default_callbacks(self) -> list[Any]:
            callbacks = super()._create_default_callbacks()
            return [callback for callback in callbacks if type(callback).__name__ not in unused]

        def _initialize_and_run_controller(self, **parts: Any) -> Any:
            controller_class = (
                _controller_without_actors() if _ends_with_its_workers() and not _in_event_loop() else None
            )
            if controller_class is None:
                return super()._initialize_and_run_controller(**parts)
            return _run_controller(controller_class, parts)

    return PlainTorchTrainer


def _ends_with_its_workers() -> bool:
    """Whether the end of this process ends its workers and frees their resources: that of a driver or an actor.

    The resources of a task belong to its driver.
    """
    import ray

    try:
        from ray._private.worker import SCRIPT_MODE, global_worker
    except _MISSING:
        return False
    if not ray.is_initialized():
        return False
    return global_worker.mode == SCRIPT_MODE or ray.get_runtime_context().get_actor_id() is not None


def _in_event_loop() -> bool:
    """Whether this thread runs an event loop, as in a notebook; a second one cannot run in it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _controller_without_actors() -> Any:
    """Ray Train's controller as a class for this process, whose watcher of pre-emptions is a thread.

    It also knows earlier than Ray's own which nodes are gone.

    Fallback: None.
    """
    try:
        from ray.runtime_context import RuntimeContext
        from ray.train.v2._internal.callbacks.preemption_callback import PreemptionCallback
        from ray.train.v2._internal.execution.controller import TrainController
        from ray.train.v2._internal.execution.preemption import PreemptionWatcher
        from ray.train.v2._internal.execution.worker_group import WorkerGroup
    except _MISSING:
        return None
    controller_base: Any = TrainController
    group_base: Any = WorkerGroup
    callback_base: Any = PreemptionCallback
    context: Any = RuntimeContext
    if not hasattr(group_base, "_init_train_context_on_workers") or not hasattr(controller_base, "worker_group_cls"):
        return None

    class ThreadWatcher(callback_base):
        def after_worker_group_start(self, worker_group: Any) -> None:
            self._stop_watcher()
            ranks: dict[str, list[int]] = {}
            actors: dict[int, Any] = {}
            for worker in worker_group.get_workers():
                rank = worker.distributed_context.world_rank
                ranks.setdefault(worker.metadata.node_id, []).append(rank)
                actors[rank] = worker.actor
            self._watcher: Any = PreemptionWatcher(ranks, self._poll_interval_s, actors)

        def _stop_watcher(self) -> None:
            if self._watcher is not None:
                self._watcher._stop_event.set()
            self._watcher = None

    class Workers(group_base):
        def _init_train_context_on_workers(self, *arguments: Any) -> None:
            # each worker gets a handle of the controller's actor, for `ray.train.get_all_reported_checkpoints` only
            original, context.current_actor = context.current_actor, None
            try:
                super()._init_train_context_on_workers(*arguments)
            finally:
                context.current_actor = original

    class Controller(controller_base):
        worker_group_cls = Workers

        def __init__(self, **parts: Any) -> None:
            super().__init__(**parts)
            callbacks = self._worker_group_callbacks_to_propagate
            callbacks[:] = [ThreadWatcher() if type(each) is callback_base else each for each in callbacks]
            _start_on_staying_nodes(self._scaling_policy)

    return Controller


def _start_on_staying_nodes(policy: Any) -> None:
    """Makes an elastic scaling policy start workers on nodes that are alive and stay.

    Ray's own counts a lost node for up to 20 seconds more, and a drained one until it is lost; meanwhile it waits for
    workers there, 60 seconds by default.
    """
    if not hasattr(policy, "_get_reserved_resources"):  # the number of workers is fixed, or Ray has changed
        return
    decide, all_nodes = policy.make_decision_for_non_running_worker_group, policy._get_reserved_resources

    def decide_for_staying_nodes() -> Any:
        policy._get_reserved_resources = lambda: staying_nodes(all_nodes())
        try:
            return decide()
        finally:
            policy._get_reserved_resources = all_nodes

    policy.make_decision_for_non_running_worker_group = decide_for_staying_nodes


def staying_nodes(resources: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Leaves out the nodes, by id, that are drained, and those that do not answer: Ray needs seconds to notice those.

    Fallback: all nodes.
    """
    import ray

    try:
        leaving = ray._private.state.state.get_draining_nodes()
        nodes = {node["NodeID"]: node for node in ray.nodes() if node["NodeID"] in (resources or {})}
        addresses = {key: (node["NodeManagerAddress"], node["NodeManagerPort"]) for key, node in nodes.items()}
    except (*_MISSING, KeyError):
        return resources
    answering = listening(addresses[key] for key, node in nodes.items() if node["Alive"])
    if resources is None or not answering:  # this process cannot reach them, or has lost its network
        return resources
    staying = {key: address in answering and key not in leaving for key, address in addresses.items()}
    return {key: amounts for key, amounts in resources.items() if staying.get(key, True)}


def _run_controller(controller_class: Any, parts: Mapping[str, Any]) -> Any:
    """Runs Ray Train's controller to its end, and returns its result; an interrupt ends its workers."""
    loop = asyncio.new_event_loop()  # unlike asyncio.run, it leaves SIGINT as it is
    with _controller_logs():
        controller = controller_class(**parts)
        try:
            loop.run_until_complete(controller.run())
        except BaseException:
            with contextlib.suppress(Exception):
                controller._worker_group.abort()
            raise
        finally:
            loop.close()
    return controller.get_result()


@contextlib.contextmanager
def _controller_logs() -> Iterator[None]:
    """While the block runs, records of Ray Train go to run.log, and not to the terminal."""

    class ToRoot(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            record.levelno = logging.DEBUG  # for run.log, not for the terminal
            logging.getLogger().handle(record)

    variable = "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING"  # it would configure the loggers of this process
    before, logger, handler = os.environ.get(variable), logging.getLogger("ray.train"), ToRoot()
    propagate, level, logger.propagate = logger.propagate, logger.level, False
    os.environ[variable] = "0"
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        os.environ.pop(variable) if before is None else os.environ.__setitem__(variable, before)


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
    except _MISSING:
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
    except _MISSING:
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
    except _MISSING:
        return False
    return True
