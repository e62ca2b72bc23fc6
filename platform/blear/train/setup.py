"""Everything that a stage is made of on one worker: data, model, optimizer, and where it stands."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from blear.contracts import BuildContext
from blear.data.decoded.device_resident import keep_on_device
from blear.data.decoded.store import Store
from blear.data.frame_sampling import FrameSampler
from blear.data.prepared import Prepared
from blear.data.sample_source import SampleSource
from blear.data.sampling.sampler import Sampler
from blear.data.sampling.sampling_groups import SplitColumns, build_groups, column_names, describe_groups
from blear.data.sampling.weighted_sampler import WeightedSampler
from blear.errors import DataError, JobError, RunError
from blear.plugin.discovery import load_plugins
from blear.progress import echo
from blear.train import checkpoint
from blear.train.chains import evaluation_augment, stage_chains
from blear.train.checkpoint import CheckpointWriter, Position, Trained
from blear.train.divergence import DivergenceGuard
from blear.train.inputs import Ahead, Inputs
from blear.train.model import Recognizer, build_recognizer, moments_of
from blear.train.optimizer import build_optimizer
from blear.train.plan import StagePlan
from blear.train.step import Stepper, autocast
from blear.train.transfer import start
from blear.train.validation import Validator
from blear.train.watched import Watched
from blear.train.worker import Worker


@dataclass
class StageRun:
    """A stage on this worker: what it is made of, and where it is.

    Attributes:
        ahead: what is done to batches on the CPU while they are read ahead.
    """

    plan: StagePlan
    worker: Worker
    store: SampleSource
    order: Sampler | WeightedSampler
    moments: FrameSampler | None
    ahead: Ahead | None
    inner: Recognizer
    stepper: Stepper
    validator: Validator | None
    trained: Trained
    position: Position
    transferred: dict[str, object] | None
    writer: CheckpointWriter | None
    first: int = field(init=False)

    def __post_init__(self) -> None:
        self.first = self.position.step

    @property
    def ended(self) -> bool:
        """All steps are made, or validation no longer gets better."""
        patience = None if self.validator is None else self.validator.spec.patience
        tired = patience is not None and self.position.worse >= patience
        return tired or self.position.step >= self.plan.spec.steps


def set_up(plan: StagePlan, worker: Worker) -> StageRun:
    """Builds a stage and restores its newest checkpoint.

    Raises:
        BlearError: the job, the data or the checkpoint do not fit.
    """
    stage, job, cluster = plan.spec, plan.job, plan.job.cluster
    catalog = load_plugins(plan.plugin_files)
    prepared = Prepared.open(plan.prepared[stage.data])
    split = stage.split or prepared.splits[0]
    moments = moments_of(stage, job.seed, prepared.clip)
    clip = prepared.clip if moments is None else moments.output_clip(prepared.clip)
    context = BuildContext(job.seed, clip, prepared.targets, counts=prepared.split(split).class_counts)
    stored = context
    augment, degrade, context = stage_chains(job, plan.stage, catalog, context)
    ahead, inputs = Inputs(augment, degrade, worker.device).cut(stage.steps)

    store: SampleSource = Store.open(prepared, split, max_broken=job.max_broken, cache_gb=cluster.cache_gb)
    if ahead is None:  # what works on the CPU would have to bring every clip back from the device
        store = keep_on_device(store, worker.device)
    order = _order(plan, prepared, split, store, worker.rank == 0)
    if stage.batch_size < worker.world * stage.accumulate:
        raise JobError(
            f"a batch of {stage.batch_size} samples cannot be shared by {worker.world} workers"
            f" in {stage.accumulate} micro-batches",
            f"stages.{plan.stage}.batch_size",
            "raise batch_size, or lower cluster.workers or accumulate",
        )

    inner = build_recognizer(catalog, stage, plan.stage, context)
    source = stage.backbone.start_from
    report = start(inner.backbone, source, plan.run) if source is not None else None
    if source is not None and report is None and worker.rank == 0:
        key = f"stages.{plan.stage}.backbone.start_from.file"
        echo(f"stage {plan.stage}: no file of weights given, so it starts as initialised (--set {key}=PATH)")
    optimizer = build_optimizer(inner, stage.optimizer)
    if cluster.channels_last:
        inner = inner.to(memory_format=torch.channels_last)
    model = worker.wrap(inner)
    average = None
    if stage.ema is not None:
        average = AveragedModel(inner, multi_avg_fn=get_ema_multi_avg_fn(stage.ema), use_buffers=True)
    trained = Trained(inner, optimizer, average)
    folder = plan.run.stage(plan.stage) / "checkpoints"
    position = checkpoint.restore(folder, trained)
    _check_agreement(worker, position.step, folder)

    validator, watched = None, None
    if stage.validate_ is not None:
        held_out = Store.open(prepared, stage.validate_.split, max_broken=job.max_broken, cache_gb=cluster.cache_gb)
        precision = functools.partial(autocast, cluster.precision, worker.device)
        still = None if moments is None else replace(moments, mode="even")
        evaluation = evaluation_augment(job, plan.stage, catalog, stored)[0]
        before, held = Inputs(evaluation, degrade, worker.device).cut()
        validator = Validator(
            stage.validate_, held_out, still, before, held, stage.batch_size, inner.head, worker, precision
        )
        if (metric := validator.metric()) is not None:
            watched = Watched(inner.head, metric, worker)
    stepper = Stepper(
        name=plan.stage,
        seed=job.seed,
        stage=stage,
        cluster=cluster,
        worker=worker,
        forward=torch.compile(model) if cluster.compile else model,
        model=model,
        inner=inner,
        head=inner.head,
        optimizer=optimizer,
        average=average,
        inputs=inputs,
        guard=DivergenceGuard(plan.stage, inner, store.keys),
        watched=watched,
    )
    return StageRun(
        plan,
        worker,
        store,
        order,
        moments,
        ahead,
        inner,
        stepper,
        validator,
        trained,
        position,
        report.as_dict() if report else None,
        CheckpointWriter(folder) if worker.rank == 0 else None,
    )


def _order(
    plan: StagePlan, prepared: Prepared, split: str, store: SampleSource, lead: bool
) -> Sampler | WeightedSampler:
    """Every sample once in an epoch, or draws from the stage's groups."""
    stage, job = plan.spec, plan.job
    draw = job.data[stage.data].draw(stage.draw)
    if draw:
        columns = SplitColumns.read(prepared, split, column_names(draw), job.max_broken)
        groups = build_groups(draw, columns, f"stages.{plan.stage}.draw")
        if lead:
            echo(f"stage {plan.stage} draws {describe_groups(draw, groups)}")
        return WeightedSampler(groups, stage.batch_size, job.seed)
    if len(store) < stage.batch_size:
        raise DataError(
            f"{len(store)} samples do not fill one batch of {stage.batch_size}",
            f"stage {plan.stage}, data {stage.data}",
            "prepare more data, or lower batch_size",
        )
    return Sampler([shard.samples for shard in store.shards], stage.batch_size, job.seed, stage.shuffle_window)


def _check_agreement(worker: Worker, step: int, folder: Path) -> None:
    steps = worker.gather(step)
    if len(set(steps)) > 1:
        do = "put BLEAR_STORAGE on storage that all nodes share"
        raise RunError(f"the workers found different checkpoints: steps {steps}", str(folder), do)
