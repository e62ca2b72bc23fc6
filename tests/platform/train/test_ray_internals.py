"""Ray's internal names: one test for each name that blear uses, and one for each fallback where a name is missing."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, RayActorError

from blear.cluster.upload import plan_upload
from blear.train.on_ray import internals, trainer
from blear.train.on_ray.waiting import describe_waiting

BUNDLE = {"CPU": 1.0}
HYPERBAND = {"metric": "score", "mode": "max", "time_attr": "look", "reduction_factor": 2, "stop_last_trials": False}


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch):
    """Makes the import of a module fail: without("ray.autoscaler.v2.sdk")."""
    return lambda name: monkeypatch.setitem(sys.modules, name, None)


def test_ray_internal_autoscaler_sdk_exists() -> None:
    from ray.autoscaler.v2.schema import ClusterStatus, NodeInfo, Stats
    from ray.autoscaler.v2.sdk import get_cluster_status

    assert "gcs_address" in inspect.signature(get_cluster_status).parameters
    fields = {"active_nodes", "idle_nodes", "pending_nodes", "pending_launches", "failed_launches", "stats"}
    assert fields <= set(inspect.signature(ClusterStatus).parameters)
    assert {"available_resources", "total_resources"} <= set(dir(NodeInfo))
    assert "ray_node_type_name" in inspect.signature(NodeInfo).parameters
    assert "autoscaler_version" in inspect.signature(Stats).parameters


def test_ray_internal_autoscaler_status_is_converted() -> None:
    from ray.autoscaler.v2 import schema

    def node(kind: str, **total: float) -> schema.NodeInfo:
        usage = schema.NodeUsage([schema.ResourceUsage(name, amount, 0.0) for name, amount in total.items()], 0)
        return schema.NodeInfo("machine", kind, "1", "127.0.0.1", resource_usage=usage)

    refused = schema.LaunchRequest("machine", "spot", 1, schema.LaunchRequest.Status.FAILED, 0, 1, "no capacity")
    status = schema.ClusterStatus(
        active_nodes=[node("head", **{internals.HEAD_RESOURCE: 1.0}), node("worker", CPU=8.0)],
        pending_launches=[schema.LaunchRequest("machine", "worker", 2, schema.LaunchRequest.Status.PENDING, 0)],
        failed_launches=[refused],
        stats=schema.Stats(autoscaler_version="7"),
    )
    found = internals._parse_status(status)
    assert found.free == ({internals.HEAD_RESOURCE: 1.0}, {"CPU": 8.0})
    assert dict(found.nodes) == {"worker": 1}
    assert dict(found.starting) == {"worker": 2}
    assert found.failed == {"spot": "no capacity"}
    assert found.autoscaler


def test_without_the_autoscaler_sdk_the_message_has_no_nodes(without) -> None:
    without("ray.autoscaler.v2.sdk")
    status = internals.cluster_status()
    assert status is None
    assert (
        describe_waiting(2, BUNDLE, 0, status, None) == "waiting for 2 workers of 1 CPU; `ray status` shows the nodes"
    )
    assert describe_waiting((1, 2), BUNDLE, 1, status, None) == ""


def test_ray_internal_address_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert internals.last_cluster() is None
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:6379")
    assert internals.last_cluster() == "127.0.0.1:6379"


def test_without_the_address_file_no_cluster_is_known(without) -> None:
    without("ray._private.utils")
    assert internals.last_cluster() is None


def test_ray_internal_train_callbacks_exist() -> None:
    from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
    from ray.train.v2.api.callback import RayTrainCallback

    assert issubclass(internals.train_callback_base(), RayTrainCallback)
    hooks = {
        "after_worker_group_start",
        "after_worker_group_training_start",
        "after_worker_group_poll_status",
        "before_worker_group_shutdown",
    }
    assert hooks <= set(dir(WorkerGroupCallback))
    assert hasattr(ControllerCallback, "before_controller_execute_resize_decision")


def test_ray_internal_worker_group_exists() -> None:
    from ray.train.v2._internal.execution.worker_group import WorkerGroup, WorkerGroupPollStatus
    from ray.train.v2.api.preemption import PreemptionInfo

    assert {"execute", "execute_async", "__len__"} <= set(dir(WorkerGroup))
    assert {"errors", "get_preemption_info"} <= set(dir(WorkerGroupPollStatus))
    assert hasattr(PreemptionInfo, "preempted_ranks")
    assert "deadline_ms" in inspect.signature(PreemptionInfo).parameters


def test_without_train_callbacks_there_is_no_callback(without) -> None:
    without("ray.train.v2._internal.execution.callback")
    assert internals.train_callback_base() is object


def test_a_hook_that_does_not_fit_ray_is_switched_off(tmp_path: Path) -> None:
    from blear.train.on_ray.callback import StageCallback

    callback = StageCallback("one", tmp_path, 60.0)
    for _ in range(2):
        callback.after_worker_group_start(object())  # has no `execute`
    (line,) = (tmp_path / "history.log").read_text().splitlines()
    assert "stage one: after_worker_group_start does not fit this version of Ray" in line


def test_ray_internal_default_callbacks_of_the_trainer_exist() -> None:
    from ray.train.torch import TorchTrainer

    def names(kind: type[TorchTrainer]) -> set[str]:
        return {type(callback).__name__ for callback in kind(print)._create_default_callbacks()}

    unused = {"DatasetsCallback", "PlacementGroupCleanerCallback"}
    everything = names(TorchTrainer)
    assert unused < everything
    assert names(trainer.torch_trainer(in_driver=True)) == everything - unused
    assert names(trainer.torch_trainer(in_driver=False)) == everything - {"DatasetsCallback"}


def test_without_default_callbacks_the_trainer_is_rays_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    monkeypatch.delattr(DataParallelTrainer, "_create_default_callbacks")
    assert trainer.torch_trainer(in_driver=True) is TorchTrainer


def test_ray_internal_controller_works_outside_an_actor() -> None:
    """Apart from `TrainState`, which is off by default, the controller and its workers ask for their actor once."""
    from ray._private.worker import SCRIPT_MODE, global_worker
    from ray.runtime_context import RuntimeContext
    from ray.train.v2._internal.callbacks.preemption_callback import PreemptionCallback
    from ray.train.v2._internal.constants import ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR
    from ray.train.v2._internal.execution.controller import TrainController
    from ray.train.v2._internal.execution.preemption import PreemptionWatcher
    from ray.train.v2._internal.execution.worker_group import Worker, WorkerGroup
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    assert trainer._workers_end_with_this_process() == (global_worker.mode == SCRIPT_MODE)
    assert ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR == "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING"
    assert hasattr(DataParallelTrainer, "_initialize_and_run_controller")
    assert isinstance(RuntimeContext.current_actor, property)
    assert inspect.iscoroutinefunction(TrainController.run)
    assert "_worker_group_callbacks_to_propagate" in inspect.getsource(TrainController.__init__)
    assert hasattr(TrainController, "get_result")
    assert {"get_workers", "abort"} <= set(dir(WorkerGroup))
    assert {"actor", "metadata", "distributed_context"} <= set(dir(Worker)) | set(inspect.signature(Worker).parameters)
    for kind in (TrainController, WorkerGroup):
        source = inspect.getsource(inspect.getmodule(kind))
        assert source.count("current_actor") == (kind is WorkerGroup)
    assert "current_actor" in inspect.getsource(WorkerGroup._init_train_context_on_workers)
    assert list(inspect.signature(PreemptionWatcher).parameters) == [
        "node_to_ranks",
        "poll_interval_s",
        "worker_actors_by_rank",
    ]
    assert {"_watcher", "_poll_interval_s"} <= set(vars(PreemptionCallback()))
    assert "_stop_event" in inspect.getsource(PreemptionWatcher.__init__)
    made = trainer._controller_without_actors()
    assert issubclass(made, TrainController)
    assert issubclass(made.worker_group_cls, WorkerGroup)


def test_ray_internal_elastic_policy_asks_for_the_resources_of_each_node() -> None:
    from ray.data._internal.cluster_autoscaler.base_autoscaling_coordinator import NodeIdStr, ReservedResources
    from ray.train import ScalingConfig
    from ray.train.v2._internal.execution.scaling_policy import create_scaling_policy

    assert ReservedResources.__args__[0] is NodeIdStr
    fixed, elastic = (create_scaling_policy(ScalingConfig(num_workers=n)) for n in (2, (1, 2)))
    assert not hasattr(fixed, "_get_reserved_resources")
    assert "self._get_reserved_resources()" in inspect.getsource(elastic.make_decision_for_non_running_worker_group)


def test_another_scaling_policy_is_left_as_it_is() -> None:
    class Policy:
        def make_decision_for_non_running_worker_group(self) -> str:
            return "two workers"

    trainer._start_on_staying_nodes(policy := Policy())
    assert policy.make_decision_for_non_running_worker_group() == "two workers"
    trainer._start_on_staying_nodes(None)


def test_without_its_modules_the_controller_is_an_actor(without) -> None:
    without("ray.train.v2._internal.execution.controller")
    assert trainer._controller_without_actors() is None


def test_ray_internal_health_check_failure_exists() -> None:
    from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

    died = RayActorError()
    assert internals.health_check_failure(WorkerHealthCheckFailedError("no reply", died)) is died


def test_without_the_health_check_failure_the_error_is_described_by_its_own_name() -> None:
    from blear.train.on_ray.callback import describe_error

    assert internals.health_check_failure(ValueError("x")) is None
    assert describe_error(ValueError("x")) == "ValueError: x"


def test_ray_internal_preempted_exists() -> None:
    error = ActorDiedError()
    assert not error.preempted
    assert internals.mark_preempted(error)
    assert error.preempted


def test_without_preempted_the_error_stays_as_it_is() -> None:
    error = ValueError("x")
    assert not internals.mark_preempted(error)
    assert not vars(error)


def test_ray_internal_packaging_exists(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("1")
    (tmp_path / "dropped").write_text("1")
    (tmp_path / ".gitignore").write_text("dropped\n")
    files = internals.packaged_files(tmp_path)
    assert files is not None
    assert {file.name for file in files} == {"kept", ".gitignore"}


def test_without_packaging_the_files_are_not_listed(without, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("1")
    without("ray._private.runtime_env.packaging")
    upload = plan_upload(tmp_path)
    upload.check()
    assert upload.listing() == [
        f"uploads {tmp_path}; its files are not listed, because this version of Ray is not known"
    ]
    assert upload.contains(tmp_path / "job.yaml")
    assert not upload.contains(tmp_path / "none.yaml")


def test_ray_internal_hyperband_brackets_exist() -> None:
    scheduler = internals.hyperband_scheduler(8, **HYPERBAND)
    assert scheduler._s_max_1 == 4
    bracket = scheduler._create_bracket(0)
    assert bracket._n0 == 8  # the bracket that stops the most trials is the first one
    assert not bracket.filled()


def test_without_hyperband_brackets_tune_uses_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.schedulers import HyperBandScheduler

    monkeypatch.delattr(HyperBandScheduler, "_create_bracket")
    assert type(internals.hyperband_scheduler(8, **HYPERBAND)) is HyperBandScheduler


def test_ray_internal_only_lost_trials_restart() -> None:
    from ray.exceptions import RayActorError, RayTaskError
    from ray.tune.experiment import Trial

    class WithoutFiles(Trial):
        local_path = None

    def restarts(error: Exception) -> bool:
        trial = WithoutFiles("one", stub=True, max_failures=3)
        trial.handle_error(error)
        return bool(trial.should_recover())

    own = RayTaskError("trial", "a traceback", ValueError("of the user"))
    with internals.only_lost_trials_restart():
        assert restarts(RayActorError())
        assert not restarts(own)
    assert restarts(own), "Tune's own rule"


def test_ray_internal_tune_file_names_exist() -> None:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.result import EXPR_PARAM_FILE, EXPR_RESULT_FILE

    assert TuneController.CKPT_FILE_TMPL.format("*") == internals.EXPERIMENT_STATE_FILES
    assert EXPR_PARAM_FILE == internals.TRIAL_PARAMS_FILE
    assert EXPR_RESULT_FILE == internals.TRIAL_RESULTS_FILE


def test_without_tune_files_a_search_starts_anew(tmp_path: Path) -> None:
    assert not internals.can_continue_search(tmp_path)
    assert internals.sampled_params(tmp_path) is None
    (tmp_path / "experiment_state-1.json").touch()
    (tmp_path / "params.json").touch()
    assert internals.can_continue_search(tmp_path)
    assert internals.sampled_params(tmp_path) == tmp_path / "params.json"


def test_ray_internal_printer_of_worker_logs_can_be_replaced(without, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import ray_logging, worker

    dispatcher, seen = ray_logging.WorkerStandardStreamDispatcher(), []
    monkeypatch.setattr(worker, "print_to_stdstream", worker.print_to_stdstream)
    monkeypatch.setattr(ray_logging, "global_worker_stdstream_dispatcher", dispatcher)
    assert not internals.replace_worker_log_printer(seen.append), "no driver is connected"
    dispatcher.add_handler("ray_print_logs", lambda data: None)
    assert internals.replace_worker_log_printer(seen.append)
    dispatcher.emit({"lines": ["x"]})
    worker.print_to_stdstream({"lines": ["y"]}, ignore_prefix=False)
    assert seen == [{"lines": ["x"]}, {"lines": ["y"]}]
    assert "print_to_stdstream(" in inspect.getsource(worker.listen_error_messages)
    assert '"ray_print_logs"' in inspect.getsource(sys.modules["ray._private.worker"])
    without("ray._private.ray_logging")
    assert not internals.replace_worker_log_printer(seen.append)
