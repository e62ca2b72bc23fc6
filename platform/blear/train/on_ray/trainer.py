"""Ray Train's `TorchTrainer` with fewer processes, and with restarts that do not wait for a lost node.

Like `internals.py`, this module uses internal names of Ray, imports them when a function is called, and has a fallback
for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from blear.train.on_ray.internals import MISSING
from blear.train.on_ray.tcp_probe import listening


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
            here = _workers_end_with_this_process() and not _in_event_loop()
            controller_class = _controller_without_actors() if here else None
            if controller_class is None:
                return super()._initialize_and_run_controller(**parts)
            return _run_controller(controller_class, parts)

    return PlainTorchTrainer


def _workers_end_with_this_process() -> bool:
    """Whether the workers that this process starts end with it: it is a driver or an actor, for instance a trial.

    Placement groups that a task has created stay until its driver ends, so a repeated task could not get its resources.
    """
    import ray

    try:
        from ray._private.worker import SCRIPT_MODE, global_worker
    except MISSING:
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

    An elastic stage restarts on the nodes of `staying_nodes`.

    Fallback: None, and for each of the three changes that does not fit Ray: Ray's own behaviour.
    """
    try:
        from ray.runtime_context import RuntimeContext
        from ray.train.v2._internal.callbacks.preemption_callback import PreemptionCallback
        from ray.train.v2._internal.execution.controller import TrainController
        from ray.train.v2._internal.execution.preemption import PreemptionWatcher
        from ray.train.v2._internal.execution.worker_group import WorkerGroup
    except MISSING:
        return None
    controller_base: Any = TrainController
    group_base: Any = WorkerGroup
    callback_base: Any = PreemptionCallback
    context: Any = RuntimeContext
    used = {controller_base: ("run", "get_result", "worker_group_cls"), group_base: ("_init_train_context_on_workers",)}
    if not all(hasattr(kind, name) for kind, names in used.items() for name in names):
        return None

    class ThreadWatcher(callback_base):
        def after_worker_group_start(self, worker_group: Any) -> None:
            self._stop_watcher()
            ranks: dict[str, list[int]] = {}
            actors: dict[int, Any] = {}
            try:
                for worker in worker_group.get_workers():
                    rank = worker.distributed_context.world_rank
                    ranks.setdefault(worker.metadata.node_id, []).append(rank)
                    actors[rank] = worker.actor
                self._watcher: Any = PreemptionWatcher(ranks, self._poll_interval_s, actors)
            except MISSING:
                super().after_worker_group_start(worker_group)

        def _stop_watcher(self) -> None:
            stop = getattr(getattr(self, "_watcher", None), "_stop_event", None)
            if not isinstance(stop, threading.Event):  # an actor, or none
                super()._stop_watcher()
                return
            stop.set()
            self._watcher = None

    class Workers(group_base):
        def _init_train_context_on_workers(self, *arguments: Any, **named: Any) -> None:
            # each worker gets a handle of the controller's actor, for `ray.train.get_all_reported_checkpoints` only
            original, context.current_actor = context.current_actor, None
            try:
                super()._init_train_context_on_workers(*arguments, **named)
            finally:
                context.current_actor = original

    class Controller(controller_base):
        worker_group_cls = Workers

        def __init__(self, **parts: Any) -> None:
            super().__init__(**parts)
            callbacks = getattr(self, "_worker_group_callbacks_to_propagate", [])
            callbacks[:] = [ThreadWatcher() if type(each) is callback_base else each for each in callbacks]
            _start_on_staying_nodes(parts.get("scaling_policy"))

    return Controller


def _start_on_staying_nodes(policy: Any) -> None:
    """Makes an elastic scaling policy start workers on nodes that are alive and stay.

    Ray's own counts a lost node for up to 20 seconds more, and a drained one until it is lost; meanwhile it waits for
    workers there, 60 seconds by default.
    """
    decide = getattr(policy, "make_decision_for_non_running_worker_group", None)
    all_nodes = getattr(policy, "_get_reserved_resources", None)
    if decide is None or all_nodes is None:  # the number of workers is fixed, or Ray has changed
        return

    def decide_for_staying_nodes() -> Any:
        policy._get_reserved_resources = lambda: staying_nodes(all_nodes())
        try:
            return decide()
        finally:
            policy._get_reserved_resources = all_nodes

    policy.make_decision_for_non_running_worker_group = decide_for_staying_nodes


def staying_nodes(resources: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The resources without those of nodes that are drained, and of nodes that do not answer.

    Ray needs some seconds to notice that a node does not answer. If no node answers, this process has no network, and
    all nodes stay.

    Args:
        resources: id of a node -> its resources; None: not known now.

    Fallback: all nodes.
    """
    if resources is None:
        return None
    import ray

    try:
        leaving = ray._private.state.state.get_draining_nodes()
        nodes = [node for node in ray.nodes() if node["NodeID"] in resources]
        addresses = {node["NodeID"]: (node["NodeManagerAddress"], node["NodeManagerPort"]) for node in nodes}
        answering = listening(addresses[node["NodeID"]] for node in nodes if node["Alive"])
    except (*MISSING, KeyError):
        return resources
    if not answering:
        return resources
    gone = {key for key, address in addresses.items() if key in leaving or address not in answering}
    return {key: amounts for key, amounts in resources.items() if key not in gone}


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
