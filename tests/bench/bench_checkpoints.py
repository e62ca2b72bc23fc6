"""Benchmark of checkpoints: blocks of training steps with one checkpoint a second, and without, in turns."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from measuring import Row, interleaved, rate_rows
from torch import nn

from blear.contracts import BuildContext, ClipSpec
from blear.train.checkpoint import CheckpointWriter, TrainedModules, TrainerState
from blear.train.worker import LocalWorker, Worker
from blear_robust.params import PlainResNetParams
from blear_robust.plain_resnet import PlainResNet

BATCH, SIDE, SECONDS, TURNS = 64, 48, 6, 12
WITHOUT = "no checkpoints"


def measure() -> list[Row]:
    """A network of 1.5 million parameters, SGD with momentum, in this process and on Ray Train. About six minutes."""
    with tempfile.TemporaryDirectory() as place:
        local = _blocks(LocalWorker(torch.device("cpu")), Path(place) / "local")
        return _rows("in one process", *local) + _rows("on Ray Train", *_on_ray(Path(place)))


def _rows(prefix: str, seconds: dict[str, list[float]], steps: int) -> list[Row]:
    return rate_rows(seconds, steps, "steps/s", WITHOUT, f"{prefix}: ")


def _on_ray(place: Path) -> tuple[dict[str, list[float]], int]:
    """The same in a worker of Ray Train, which reports to Ray as a stage does."""
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.cloudpickle.register_pickle_by_value(sys.modules["measuring"])
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        run = RunConfig(storage_path=str(place / "ray"))
        TorchTrainer(_ray_worker, train_loop_config=str(place), scaling_config=ScalingConfig(), run_config=run).fit()
    finally:
        ray.shutdown()
    seconds, steps = json.loads((place / "seconds.json").read_text())
    return seconds, steps


def _ray_worker(place: str) -> None:
    import contextlib

    from blear.train.on_ray.worker import RayWorker

    with contextlib.closing(RayWorker(Path(place) / "stage")) as worker:
        measured = _blocks(worker, Path(place) / "checkpoints")
    (Path(place) / "seconds.json").write_text(json.dumps(measured))


def _blocks(worker: Worker, folder: Path) -> tuple[dict[str, list[float]], int]:
    """Seconds of each block of either kind, and the steps of a block."""
    torch.set_num_threads(1)
    network = PlainResNet(PlainResNetParams(width=0.5), BuildContext(clip=ClipSpec(1, 1, SIDE, SIDE)))
    model = worker.prepare_model(nn.ModuleDict({"backbone": network, "head": nn.LazyLinear(1)}))
    frames = torch.rand(BATCH, 1, 1, SIDE, SIDE)
    forward = lambda: model["head"](model["backbone"](frames)["embedding"]).square().mean()  # noqa: E731
    forward()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    writer, state = CheckpointWriter(folder), TrainerState()

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = forward()
        loss.backward()
        optimizer.step()
        state.step += 1
        worker.should_checkpoint(state.step)
        return loss.detach()

    began = time.perf_counter()
    for _ in range(20):
        step()
    every = max(1, round(20 / (time.perf_counter() - began)))

    def block(checkpoints: bool) -> None:
        for number in range(every * SECONDS):
            loss = step()
            if checkpoints and number % every == 0:
                writer.save(state, TrainedModules(model, optimizer))
                worker.on_checkpoint(state.step, {"loss": float(loss)})

    arms = {WITHOUT: lambda: block(False), f"every {every} steps": lambda: block(True)}
    try:
        return interleaved(arms, TURNS, warm=1), every * SECONDS
    finally:
        writer.close()
