"""The Ray Train runner: one stage = one `TorchTrainer.fit` (Ray Train V2, elastic) around the same loop."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from blear.errors import BlearError, RunError
from blear.job import Cluster
from blear.train.loop import train_stage
from blear.train.plan import StagePlan


class RayWorker:
    """A worker inside `ray.train`."""

    def __init__(self) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.device: torch.device = ray.train.torch.get_device()

    def wrap(self, model: nn.Module) -> nn.Module:
        """On the device, and in DistributedDataParallel when there are several workers."""
        import ray.train.torch

        wrapped: nn.Module = ray.train.torch.prepare_model(model)
        return wrapped

    def total(self, value: float) -> float:
        """Sum over the workers."""
        if self.world == 1:
            return value
        number = torch.tensor(value, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(number)
        return float(number)

    def saved(self, step: int, loss: float) -> None:
        """Tells Ray Train. The checkpoint lies in the run folder, where a restarted stage of either runner finds it."""
        import ray.train

        ray.train.report({"step": step, "loss": loss})


def _worker_main(config: dict[str, StagePlan]) -> None:
    train_stage(config["plan"], RayWorker())


def train_on_ray(plan: StagePlan) -> None:
    """Trains one stage on the connected Ray cluster.

    Raises:
        BlearError: a worker's own error, as it was raised there.
        RunError: Ray lost the stage; the cause is in the message.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

    cluster = plan.job.cluster
    workers: Any = cluster.workers  # (min, max) is elastic, which Ray's own annotation leaves out
    scaling = ScalingConfig(
        num_workers=workers,
        use_gpu=_use_gpu(cluster),
        resources_per_worker={"CPU": cluster.cpus_per_worker} | ({"GPU": 1} if _use_gpu(cluster) else {}),
    )
    run = RunConfig(
        name=f"{plan.job.name}-{plan.stage}-{int(time.time())}",
        storage_path=str(plan.run.root.resolve() / "ray"),
        failure_config=FailureConfig(max_failures=cluster.failures),
    )
    trainer = TorchTrainer(_worker_main, train_loop_config={"plan": plan}, scaling_config=scaling, run_config=run)
    try:
        trainer.fit()
    except WorkerGroupError as error:
        own = [e for e in error.worker_failures.values() if isinstance(_root(e), BlearError)]
        if own:
            raise _root(own[0]) from error
        first = next(iter(error.worker_failures.values()), error)
        raise RunError(
            f"a worker failed: {first}", f"stage {plan.stage}", "give the same command to continue"
        ) from error
    except ControllerError as error:
        raise RunError(
            f"Ray Train failed: {error}", f"stage {plan.stage}", "give the same command to continue"
        ) from error


def _root(error: BaseException) -> BaseException:
    """The error that a worker raised, out of Ray's wrapping."""
    while not isinstance(error, BlearError):
        inner = getattr(error, "cause", None) or error.__cause__
        if not isinstance(inner, BaseException):
            return error
        error = inner
    return error


def _use_gpu(cluster: Cluster) -> bool:
    import ray

    return ray.cluster_resources().get("GPU", 0) > 0 if cluster.gpu == "auto" else cluster.gpu
