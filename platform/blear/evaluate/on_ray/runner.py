"""Evaluates the arms of a run in Ray tasks. The driver only schedules: models, codecs and statistics run on workers."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blear.errors import JobError, RunError
from blear.evaluate.blocks import Block, batches_per_block, divide
from blear.evaluate.evaluator import Evaluator
from blear.evaluate.on_ray.block_tasks import BlockResult, EvaluationPlan, code_block, evaluate_block, finish_blocks
from blear.job.schema import Cluster, Job
from blear.plugin.catalog import Catalog
from blear.plugin.fingerprints import component_fingerprints
from blear.progress import duration, echo, track
from blear.storage.run_folder import RunFolder
from blear.storage.run_mirror import sync_current
from blear.storage.shared_run import SharedRun
from blear.train.on_ray.runner import use_gpu
from blear.train.on_ray.tasks import call_on_worker, cancelled_on_error, fits_on_a_node, remote_task, task_errors

PREDICTIONS, VALIDATION = "predictions.parquet", "validation.parquet"
_IN_FLIGHT = 512  # submitted tasks; an autoscaler sees their number
_POLL_S = 5.0


@dataclass
class _Scheduler:
    """Submits the tasks of blocks, a limited number at a time.

    Attributes:
        evaluator: of the driver; it only says which blocks share degraded frames.
        running: reference of a task -> its block.
    """

    plan: EvaluationPlan
    evaluator: Evaluator
    gpus: float
    running: dict[Any, Block] = field(default_factory=dict)
    coded: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import ray

        self._plan = ray.put(self.plan)  # once, not with each task

    def submit(self, block: Block, path: Path, users: Mapping[str | None, int]) -> None:
        """Submits a block; a codec's part of it once for all blocks with the same degraded frames."""
        cluster = self.plan.job.cluster
        key, frames = self.evaluator.code_key(block), None
        if key is not None and (self.gpus or users[key] > 1):
            if key not in self.coded:
                self.coded.clear()  # blocks of one key are submitted in succession; Ray keeps what they still need
                code = remote_task(code_block, name="codec", cpus=1.0, gpus=0.0, retries=cluster.failures)
                self.coded[key] = code(self._plan, block)
            frames = self.coded[key]
        name = f"evaluate {block.arm} {block.level.condition} {block.level.severity:g}"
        cpus = cluster.cpus_per_worker
        task = remote_task(evaluate_block, name=name, cpus=cpus, gpus=self.gpus, retries=cluster.failures)
        self.running[task(self._plan, block, path, frames)] = block

    def finished(self) -> Iterator[tuple[Block, BlockResult]]:
        """Yields the blocks that have ended; waits for at least one.

        Raises:
            RunError: no node with the resources of a task has come within `cluster.wait_s`.
        """
        import ray

        since, announced = time.monotonic(), False
        cluster = self.plan.job.cluster
        while True:
            done, _ = ray.wait(list(self.running), timeout=_POLL_S)
            for reference in done:
                yield self.running.pop(reference), ray.get(reference)
            if done:
                return
            if fits_on_a_node(cluster.cpus_per_worker, self.gpus):
                continue
            if not announced:
                announced = True
                echo(f"evaluation: waiting for a node with {_resources(cluster, self.gpus)}")
            if time.monotonic() - since > cluster.wait_s:
                what = (
                    f"no node with {_resources(cluster, self.gpus)} within {duration(cluster.wait_s)} (cluster.wait_s)"
                )
                raise RunError(what, "evaluation", "add nodes, or set cluster.gpu=false; the same command continues")


def evaluate_on_ray(job: Job, catalog: Catalog, run: RunFolder, prepared: Mapping[str, str | Path]) -> str:
    """Evaluates every arm at every level on the connected cluster; the results are those of `evaluate_arms`.

    One task evaluates one block of samples. Finished blocks lie in the run folder, so that a repeated command computes
    the others only.

    Raises:
        JobError: the job has no `evaluate` section, or an arm has no stage at any level.
        RunError: workers were lost too often, or no node came.
    """
    if job.evaluate is None:
        raise JobError("this job has no `evaluate` section")
    import torch

    evaluator = Evaluator(job, job.evaluate, catalog, run, prepared, torch.device("cpu"))
    evaluator.require_levels()
    shared = SharedRun.of(run.root)
    plan = EvaluationPlan(job, run, dict(prepared), _fingerprints(job, catalog), shared)
    plan = replace(plan, key=plan.folder.name)
    sync_current()  # workers on other nodes download what this process has written
    folder, gpus = plan.folder, 1.0 if use_gpu(job.cluster) else 0.0
    blocks = _all_blocks(evaluator)
    files = {name: [folder / f"{name}-{n:06d}.arrow" for n in range(len(each))] for name, each in blocks.items()}
    stored = shared.existing(folder)
    todo = [
        (block, path)
        for name, each in blocks.items()
        for block, path in zip(each, files[name], strict=True)
        if not (path.is_file() if stored is None else path.name in stored)
    ]
    started = time.monotonic()
    with task_errors("evaluation"):
        results = _run_blocks(_Scheduler(plan, evaluator, gpus), todo, sum(map(len, blocks.values())))
    placement = {
        "runner": "ray",
        "hosts": dict(Counter(result.host for result in results)),
        "blocks": sum(map(len, blocks.values())),
        "gpus_of_a_block": gpus,
        "seconds": round(time.monotonic() - started, 1),
        "task_seconds": round(sum(result.seconds for result in results), 1),
    }
    cpus, retries = job.cluster.cpus_per_worker, job.cluster.failures
    table = call_on_worker(finish_blocks, plan, files, placement, name="summary", cpus=cpus, retries=retries)
    shared.collect()
    shared.forget(folder.parent)
    _remove(folder)
    return table


def _run_blocks(scheduler: _Scheduler, todo: Sequence[tuple[Block, Path]], total: int) -> list[BlockResult]:
    """Runs the tasks of blocks. Blocks with the same degraded frames are submitted in succession."""
    keys = [scheduler.evaluator.code_key(block) for block, _ in todo]
    users = Counter(keys)
    first = {key: number for number, key in reversed(list(enumerate(keys)))}
    order = sorted(range(len(todo)), key=lambda n: (n if keys[n] is None else first[keys[n]], n))
    waiting, results = [todo[n] for n in reversed(order)], []
    with track("evaluate", total, total - len(todo)) as bar, cancelled_on_error(scheduler.running):
        while waiting or scheduler.running:
            while waiting and len(scheduler.running) < _IN_FLIGHT:
                scheduler.submit(*waiting.pop(), users)
            for block, result in scheduler.finished():
                results.append(result)
                bar.advance(1, block.arm)
    return results


def _all_blocks(evaluator: Evaluator) -> dict[str, list[Block]]:
    """File of a table -> its blocks, in the order of its rows."""
    evaluate = evaluator.evaluate
    length = None if evaluate.windows is None else evaluate.windows.length
    size = batches_per_block(evaluate.batch_size, evaluator.clip, length)
    passes = {PREDICTIONS: evaluator.blocks()}
    if evaluate.temperature is not None:
        passes[VALIDATION] = evaluator.validation_blocks(evaluate.temperature)
    return {name: list(divide(each, evaluator.count_batches, size)) for name, each in passes.items()}


def _fingerprints(job: Job, catalog: Catalog) -> dict[tuple[str, str], Mapping[str, str]]:
    """Fingerprints of the components that an evaluation builds."""
    names = {("degradation", use.use) for use in job.degradations}
    for stage in job.stages.values():
        names |= stage.networks
    if job.evaluate is not None:
        names |= {("degradation", sweep.use) for sweep in job.evaluate.sweeps.values()}
    return {name: component_fingerprints(catalog, [name]) for name in sorted(names)}


def _resources(cluster: Cluster, gpus: float) -> str:
    return f"{cluster.cpus_per_worker:g} CPU" + (f", {gpus:g} GPU" if gpus else "")


def _remove(folder: Path) -> None:
    """Deletes the blocks, which the tables now contain, and those of earlier evaluations."""
    shutil.rmtree(folder.parent, ignore_errors=True)
