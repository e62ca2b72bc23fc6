"""The Ray Train runner: one stage is one `TorchTrainer.fit` (Ray Train V2, elastic) around `train_stage`."""

from __future__ import annotations

import contextlib
import errno
import math
import shutil
import socket
import time
from dataclasses import replace
from typing import Any

from blear.errors import BlearError, RunError
from blear.job.schema import Cluster
from blear.plugin.code_digest import code_digest, require_code
from blear.plugin.discovery import load_plugins
from blear.plugin.fingerprints import check_fingerprints
from blear.progress import echo
from blear.storage.run_folder import RunFolder
from blear.storage.run_mirror import sync_current
from blear.storage.shared_run import SharedRun
from blear.train.loop import train_stage
from blear.train.on_ray import internals
from blear.train.on_ray.cluster_status import autoscaler_config_file, read_autoscaler_limits
from blear.train.on_ray.history import print_history
from blear.train.on_ray.trainer import torch_trainer
from blear.train.on_ray.waiting import announce_waiting
from blear.train.plan import StagePlan

_CONTINUE = "fix it and give the same command: it continues from the newest checkpoint"


def _worker_main(config: dict[str, Any]) -> None:
    import ray.train
    import torch.distributed

    from blear.train.on_ray.worker import RayWorker

    require_code(config["code"])
    plan: StagePlan = config["plan"]
    shared: SharedRun = config["shared"]
    plan = replace(plan, run=RunFolder(shared.local(plan.run.root)))
    folder, lead = plan.run.stage(plan.stage), ray.train.get_context().get_world_rank() == 0
    check_fingerprints(
        plan.fingerprints, load_plugins(plan.plugin_files), plan.components, f"node {socket.gethostname()}"
    )
    try:
        with shared.writing(folder, lead=lead) as upload:
            if shared.name and torch.distributed.is_initialized():
                torch.distributed.barrier()  # a worker that still clears its node's copy would delete new files
            with contextlib.closing(RayWorker(folder, upload)) as worker:
                train_stage(plan, worker)
    except RuntimeError as error:  # gloo and NCCL raise no class of their own
        if "timed out" not in str(error).lower():
            raise
        stall = plan.job.cluster.stall_s
        raise TimeoutError(f"no answer from the other workers for {stall:g} s: one hangs or is far slower") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        do = "make room, then give the same command: it continues from the newest checkpoint"
        raise RunError(f"the disk is full: {error}", str(error.filename or plan.run.root), do) from error


def train_on_ray(plan: StagePlan) -> None:
    """Trains one stage on the connected Ray cluster.

    After a lost worker or node, Ray restarts the workers from the newest checkpoint of the run folder, at most
    `cluster.failures` times. Pre-emptions do not count.

    Raises:
        BlearError: a worker raised it; the stage is not retried.
        RunError: Ray Train failed, or workers were lost too often; the message has the cause.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig
    from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError

    from blear.train.on_ray.callback import StageCallback, WaitedTooLong, describe_error, root_error

    cluster, folder = plan.job.cluster, plan.run.stage(plan.stage)
    gpu, (least, most) = use_gpu(cluster), cluster.worker_range
    elastic: dict[str, Any] = {  # as Any: Ray annotates the fields of its older ScalingConfig
        "num_workers": least if least == most else (least, most),
        "elastic_resize_monitor_interval_s": cluster.resize_s,
    }
    resources = {"CPU": cluster.cpus_per_worker} | ({"GPU": 1} if gpu else {})
    scaling = ScalingConfig(use_gpu=gpu, resources_per_worker=resources, **elastic)
    shared = SharedRun.of(plan.run.root)
    callback: Any = StageCallback(plan.stage, folder, cluster.wait_s, shared)
    observed = internals.train_callback_base() is not object
    storage = plan.run.root.resolve() / "ray"
    run = RunConfig(
        name=f"{plan.job.name}-{plan.stage}-{int(time.time())}",
        storage_path=str(storage),
        failure_config=FailureConfig(max_failures=cluster.failures),
        callbacks=[callback] if observed else [],
    )
    trainer = torch_trainer(in_driver=ray.get_runtime_context().get_actor_id() is None)(
        _worker_main,
        train_loop_config={"plan": plan, "shared": shared, "code": code_digest()},
        torch_config=TorchConfig(timeout_s=math.ceil(cluster.stall_s)),
        scaling_config=scaling,
        run_config=run,
    )
    where = f"stage {plan.stage}"
    try:
        with announce_waiting(cluster, gpu) as waiting, print_history(folder):
            if not observed:
                echo(f"{where}: restarts are not reported, because this version of Ray is not known")
            sync_current()  # workers on other nodes download what this process has written
            trainer.fit()
    except (WorkerGroupError, PreemptionError, ControllerError) as error:
        failures = getattr(error, "worker_failures", {})
        for failure in (error, *failures.values()):
            own = root_error(failure)
            if isinstance(own, WaitedTooLong):
                raise RunError(f"{waiting.text or own.what}; {own.what}", where, own.do) from error
            if isinstance(own, BlearError):
                raise own from error
        if not isinstance(error, WorkerGroupError):
            raise RunError(f"Ray Train failed: {describe_error(error)}", where, _CONTINUE) from error
        causes = "; ".join(sorted({describe_error(failure) for failure in failures.values()}))
        tried = f", after {cluster.failures} restarts (cluster.failures)" if cluster.failures > 0 else ""
        raise RunError(f"a worker was lost{tried}: {causes}", where, _CONTINUE) from error
    shared.collect()
    shutil.rmtree(storage, ignore_errors=True)  # Ray's marker files; checkpoints lie in the stage's folder


def use_gpu(cluster: Cluster) -> bool:
    """Whether each worker reserves a GPU. `auto`: if the cluster has one, or if the autoscaler may add one."""
    if cluster.gpu != "auto":
        return cluster.gpu
    import ray

    limits = read_autoscaler_limits(autoscaler_config_file())
    may_come = limits is not None and any(kind.resources.get("GPU") for kind in limits.types)
    return may_come or ray.cluster_resources().get("GPU", 0) > 0
