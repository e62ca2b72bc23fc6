"""Builds a stage on one worker: data, preprocessing, model, optimizer, validation; restores its newest checkpoint."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from blear.contracts import BuildContext
from blear.data.decoded.device_resident import keep_on_device
from blear.data.decoded.store import Store
from blear.data.frame_sampling import FrameSampler
from blear.data.prepared import Prepared
from blear.data.sample_source import SampleSource
from blear.data.sampling.sampler import Sampler
from blear.data.sampling.sampling_groups import SplitColumns, build_groups, column_names, describe_groups
from blear.data.sampling.weighted_sampler import WeightedSampler
from blear.degradation.chain import Chain
from blear.errors import DataError, JobError, RunError
from blear.plugin.catalog import Catalog
from blear.plugin.discovery import load_plugins
from blear.plugin.memory_format import to_channels_last
from blear.progress import echo
from blear.train import checkpoint
from blear.train.auxiliary_norm import add_auxiliary
from blear.train.averaging import build_average, first_averaged_step
from blear.train.chains import augmented_context, check_clean_clips, evaluation_augment, stage_chains, validation_chains
from blear.train.checkpoint import CheckpointWriter, TrainedModules, TrainerState
from blear.train.consistency import VIEWS
from blear.train.divergence import DivergenceGuard
from blear.train.model import Recognizer, build_recognizer, evaluated_targets, stage_frame_sampler
from blear.train.optimizer import build_optimizer
from blear.train.plan import StagePlan
from blear.train.precision import autocast, choose_precision
from blear.train.preprocessing import CpuPreprocessing, Preprocessing
from blear.train.step import Stepper
from blear.train.teacher import Distillation, build_teacher, load_teacher
from blear.train.training_metric import TrainingMetric
from blear.train.transfer import Transfers, load_stage_weights, print_transfers
from blear.train.validation import Validator, require_same_targets
from blear.train.worker import Worker, ray_gpu_share


@dataclass
class StageRun:
    """A stage on this worker.

    Attributes:
        frame_sampler: chooses frames of each clip; None: all frames.
        cpu_preprocessing: part of the preprocessing that runs in the reading threads; None: nothing runs there.
        model: the model without the worker's wrapper.
        transfer: part of the model -> report of the weights that it started from.
        writer: on rank 0 only.
        first_step: the step that the stage resumed from.
    """

    plan: StagePlan
    worker: Worker
    store: SampleSource
    sampler: Sampler | WeightedSampler
    frame_sampler: FrameSampler | None
    cpu_preprocessing: CpuPreprocessing | None
    model: Recognizer
    stepper: Stepper
    validator: Validator | None
    modules: TrainedModules
    state: TrainerState
    transfer: Transfers
    writer: CheckpointWriter | None
    first_step: int = field(init=False)

    def __post_init__(self) -> None:
        self.first_step = self.state.step

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or validation has not improved for `patience` validations."""
        patience = None if self.validator is None else self.validator.spec.patience
        out_of_patience = patience is not None and self.state.not_improved >= patience
        return out_of_patience or self.state.step >= self.plan.spec.steps


@dataclass(frozen=True)
class _StageData:
    """Data of a stage.

    Attributes:
        stored: context of the clips as they are stored.
        clean: context of the clips after the augmentations.
        built: context of the clips that reach the model.
        preprocessing: on the device, after `cpu_preprocessing`.
        degrade: all degradations, which validation applies too.
    """

    prepared: Prepared
    store: SampleSource
    sampler: Sampler | WeightedSampler
    frame_sampler: FrameSampler | None
    stored: BuildContext
    clean: BuildContext
    built: BuildContext
    cpu_preprocessing: CpuPreprocessing | None
    preprocessing: Preprocessing
    degrade: Chain


def set_up(plan: StagePlan, worker: Worker) -> StageRun:
    """Builds a stage and restores its newest checkpoint.

    Raises:
        BlearError: the job, the data or the checkpoint do not fit together.
    """
    stage, cluster = plan.spec, plan.job.cluster
    catalog = load_plugins(plan.plugin_files)
    data = _build_data(plan, worker, catalog)
    model, transfer = _build_model(plan, worker, catalog, data.built)
    optimizer = build_optimizer(model, stage.trained_by)
    if cluster.channels_last:
        to_channels_last(model)
    wrapped = worker.prepare_model(model)
    average = build_average(model, stage)
    modules = TrainedModules(model, optimizer, average, first_averaged_step(stage))
    folder = plan.run.stage(plan.stage) / "checkpoints"
    state = checkpoint.restore_checkpoint(folder, modules)
    _check_agreement(worker, state.step, folder)
    state.precision = choose_precision(plan, worker, state)
    validator = _build_validator(plan, worker, catalog, data, model, state.precision)
    criterion = None if validator is None else validator.criterion()
    stepper = Stepper(
        name=plan.stage,
        seed=plan.job.seed,
        stage=stage,
        precision=state.precision,
        worker=worker,
        forward=torch.compile(wrapped) if cluster.compile else wrapped,
        wrapped=wrapped,
        model=model,
        head=model.head,
        optimizer=optimizer,
        average=average,
        preprocessing=data.preprocessing,
        guard=DivergenceGuard(plan.stage, model, data.store.keys),
        training_metric=None if criterion is None else TrainingMetric(model.head, criterion, worker),
        teacher=_build_distillation(plan, worker, catalog, data),
    )
    return StageRun(
        plan,
        worker,
        data.store,
        data.sampler,
        data.frame_sampler,
        data.cpu_preprocessing,
        model,
        stepper,
        validator,
        modules,
        state,
        transfer,
        CheckpointWriter(folder) if worker.rank == 0 else None,
    )


def _build_data(plan: StagePlan, worker: Worker, catalog: Catalog) -> _StageData:
    """Opens the training split and builds its sampler and preprocessing."""
    stage, job = plan.spec, plan.job
    prepared = Prepared.open(plan.prepared[stage.data])
    split = stage.split or prepared.splits[0]
    frame_sampler = stage_frame_sampler(stage, job.seed, prepared.clip)
    clip = prepared.clip if frame_sampler is None else frame_sampler.output_clip(prepared.clip)
    stored = BuildContext(job.seed, clip, prepared.targets, counts=prepared.split(split).class_counts)
    whole = BuildContext(job.seed, prepared.clip, prepared.targets)
    check_clean_clips(job, plan.stage, catalog, whole, lambda: prepared.split(split).layout.clean_shape)
    augment, degrade, built = stage_chains(job, plan.stage, catalog, stored)
    clean = augmented_context(job, plan.stage, catalog, stored)
    views = 1 if stage.consistency is None else VIEWS
    whole_preprocessing = Preprocessing(augment, degrade, worker.device, views)
    cpu_preprocessing, preprocessing = whole_preprocessing.split_cpu(stage.steps)
    store: SampleSource = Store.open(prepared, split, max_broken=job.max_broken, cache_gb=job.cluster.cache_gb)
    if (
        cpu_preprocessing is None and worker.device.type == "cuda"
    ):  # with CPU preprocessing, every clip would have to return from the device
        store = keep_on_device(store, worker.device, job.cluster.device_bytes, gpu_share=ray_gpu_share())
    sampler = _build_sampler(plan, prepared, split, store, worker.rank == 0)
    if stage.batch_size < worker.world_size * stage.accumulate:
        raise JobError(
            f"a batch of {stage.batch_size} samples cannot be shared by {worker.world_size} workers"
            f" in {stage.accumulate} micro-batches",
            f"stages.{plan.stage}.batch_size",
            "raise batch_size, or lower cluster.workers or accumulate",
        )
    return _StageData(
        prepared, store, sampler, frame_sampler, stored, clean, built, cpu_preprocessing, preprocessing, degrade
    )


def _build_model(
    plan: StagePlan, worker: Worker, catalog: Catalog, context: BuildContext
) -> tuple[Recognizer, Transfers]:
    """Builds the model and loads the weights of `start_from` into it and its parts."""
    model = build_recognizer(catalog, plan.spec, plan.stage, context)
    reports = load_stage_weights(model, plan.spec, plan.run)
    if worker.rank == 0:
        print_transfers(plan.stage, reports)
    if plan.spec.auxiliary_norm:
        add_auxiliary(model, plan.stage)
    return model, reports


def _build_distillation(plan: StagePlan, worker: Worker, catalog: Catalog, data: _StageData) -> Distillation | None:
    """Builds the stage's teacher and loads its weights; None without a teacher."""
    spec = plan.spec.teacher
    if spec is None:
        return None
    model = build_teacher(catalog, plan.job, plan.stage, data.clean if spec.sees == "clean" else data.built)
    load_teacher(model, spec, plan.run, plan.stage)
    return Distillation(spec, model.to(worker.device), plan.stage)


def _build_validator(
    plan: StagePlan, worker: Worker, catalog: Catalog, data: _StageData, model: Recognizer, precision: str
) -> Validator | None:
    """Builds the validation of the stage's `validate` section; None without one."""
    stage, job = plan.spec, plan.job
    if stage.validate_ is None:
        return None
    metrics = evaluated_targets(model, data.built)
    prepared, sampler, degrade = data.prepared, data.frame_sampler, data.degrade
    if stage.validation_data == stage.data:
        augment, _ = evaluation_augment(job, plan.stage, catalog, data.stored)
    else:
        prepared = Prepared.open(plan.prepared[stage.validation_data])
        require_same_targets(metrics, data.built.targets, prepared.targets, plan.stage)
        sampler = stage_frame_sampler(stage, job.seed, prepared.clip)
        clip = prepared.clip if sampler is None else sampler.output_clip(prepared.clip)
        context = BuildContext(job.seed, clip, prepared.targets)
        augment, degrade, _ = validation_chains(job, plan.stage, catalog, context)
    store = Store.open(prepared, stage.validate_.split, max_broken=job.max_broken, cache_gb=job.cluster.cache_gb)
    even = None if sampler is None else replace(sampler, mode="even")
    cpu_preprocessing, preprocessing = Preprocessing(augment, degrade, worker.device).split_cpu()
    return Validator(
        stage.validate_,
        store,
        even,
        cpu_preprocessing,
        preprocessing,
        stage.batch_size,
        model.head,
        worker,
        functools.partial(autocast, precision, worker.device),
        metrics,
    )


def _build_sampler(
    plan: StagePlan, prepared: Prepared, split: str, store: SampleSource, lead: bool
) -> Sampler | WeightedSampler:
    """A sampler of every sample once in an epoch, or a weighted one if the stage has `draw` groups."""
    stage, job = plan.spec, plan.job
    draw = job.data[stage.data].draw(stage.draw)
    if draw:
        columns = SplitColumns.read(prepared, split, column_names(draw), job.max_broken)
        groups = build_groups(draw, columns, f"stages.{plan.stage}.draw")
        if lead:
            echo(f"stage {plan.stage} draws {describe_groups(draw, groups, columns)}")
        return WeightedSampler(groups, stage.batch_size, job.seed)
    if len(store) < stage.batch_size:
        raise DataError(
            f"{len(store)} samples do not fill one batch of {stage.batch_size}",
            f"stage {plan.stage}, data {stage.data}",
            "prepare more data, or lower batch_size",
        )
    return Sampler([shard.samples for shard in store.shards], stage.batch_size, job.seed, stage.shuffle_window)


def _check_agreement(worker: Worker, step: int, folder: Path) -> None:
    """Checks that all workers restored the same checkpoint."""
    steps = worker.all_gather(step)
    if len(set(steps)) > 1:
        do = "put BLEAR_STORAGE on storage that all nodes share"
        raise RunError(f"the workers found different checkpoints: steps {steps}", str(folder), do)
