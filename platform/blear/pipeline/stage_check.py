"""Checks one stage before training: builds everything that training builds, and computes one step of gradients."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from blear.contracts import BuildContext, Categories, Images, Metric
from blear.data.sampling.sampling_groups import SplitColumns, build_groups, column_names
from blear.errors import DataError, JobError
from blear.job.schema import Job, Stage
from blear.pipeline.data_facts import DataFacts
from blear.pipeline.example_batch import example_batch
from blear.plugin.catalog import Catalog
from blear.plugin.decoded_targets import target_metrics
from blear.train.auxiliary_norm import add_auxiliary, degraded_samples, second_set, without_auxiliary
from blear.train.chains import (
    CleanShape,
    augmented_context,
    check_clean_clips,
    stage_chains,
    validation_chains,
)
from blear.train.consistency import VIEWS, consistency_loss
from blear.train.feature_distillation import recorded_features
from blear.train.load_stage import require_loaded
from blear.train.model import Recognizer, blank_clip, build_recognizer, stage_frame_sampler
from blear.train.optimizer import build_optimizer
from blear.train.preprocessing import Preprocessing
from blear.train.teacher import Distillation, build_teacher
from blear.train.transfer import Transfers, check_transfer, model_part, part_weights
from blear.train.validation import require_metric, require_same_targets

_SHOWN = 4


@dataclass(frozen=True)
class StageOutput:
    """What a stage's head gives for one batch.

    Attributes:
        images: whether its first decoded target is images.
        classes: decoded target -> its classes; empty for images and regression.
        metrics: decoded target -> its metrics, the headline metric first; without targets that have no metric.
        shapes: name of a weight -> its shape.
    """

    images: bool
    classes: Mapping[str, tuple[str, ...]]
    metrics: Mapping[str, Sequence[Metric]]
    shapes: Mapping[str, torch.Size]


@dataclass
class StageChecker:
    """Checks the stages of a job. Stages that are built alike are computed once.

    Attributes:
        workers: the number of workers that train a stage, at least.
        several: whether a stage may be trained by more than one worker.
        outputs: results of earlier checks, by everything that they depend on.
        notes: what works, but may not be meant.
    """

    job: Job
    catalog: Catalog
    facts: Mapping[str, DataFacts]
    workers: int
    several: bool
    outputs: dict[str, StageOutput] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def check_split(self, name: str) -> None:
        """Checks split, batch size and groups of a stage.

        Raises:
            JobError, DataError: the data lack the split, a batch cannot be filled or shared, or a group is empty.
        """
        stage, facts = self.job.stages[name], self.facts[self.job.stages[name].data]
        split = stage.split or facts.splits[0]
        require_split(facts, split, f"stages.{name}.split")
        if stage.batch_size < self.workers * stage.accumulate:
            raise JobError(
                f"a batch of {stage.batch_size} samples cannot be shared by {self.workers} workers"
                f" in {stage.accumulate} micro-batches",
                f"stages.{name}.batch_size",
                "raise batch_size, or lower cluster.workers or accumulate",
            )
        draw = self.job.data[stage.data].draw(stage.draw)
        if draw and facts.prepared is not None:
            columns = SplitColumns.read(facts.prepared, split, column_names(draw), self.job.max_broken)
            build_groups(draw, columns, f"stages.{name}.draw")
        elif not draw and facts.samples.get(split, stage.batch_size) < stage.batch_size:
            raise DataError(
                f"{facts.samples[split]} samples do not fill one batch of {stage.batch_size}",
                f"stage {name}, data {stage.data}",
                "prepare more data, or lower batch_size",
            )

    def check_validation(self, name: str) -> None:
        """Checks the split of a stage's `validate`, and builds its preprocessing.

        Raises:
            JobError, DataError: the data lack the split, or the split has no sample.
        """
        stage = self.job.stages[name]
        if stage.validate_ is not None and stage.validation_data in self.facts:
            require_split(self.facts[stage.validation_data], stage.validate_.split, f"stages.{name}.validate.split")
            validation_chains(self.job, name, self.catalog, self._stored(name, stage.validation_data))

    def check_chains(self, name: str) -> None:
        """Builds the augmentations and degradations of a stage; a blank clip passes through each.

        Raises:
            BlearError: an operation does not fit the clips.
        """
        stage_chains(self.job, name, self.catalog, self._stored(name))

    def check_clean(self, name: str) -> None:
        """Checks that the augmentations of a stage act alike on frames and clean clips of another size.

        Before the data is prepared, a stage with augmentations reads one sample.

        Raises:
            JobError: an augmentation depends on the size of the clips.
        """
        stage, facts = self.job.stages[name], self.facts[self.job.stages[name].data]
        context = BuildContext(self.job.seed, facts.clip, facts.targets)

        def clean_shape() -> CleanShape | None:
            layout = facts.layout(stage.split or facts.splits[0])
            return None if layout is None else layout.clean_shape

        check_clean_clips(self.job, name, self.catalog, context, clean_shape)

    def output(self, name: str) -> StageOutput:
        """Builds model, initial weights and optimizer of a stage, and computes the gradients of one batch.

        Raises:
            BlearError: parts of the stage do not fit together, or several workers cannot train it.
        """
        key = self._key(name)
        if key not in self.outputs:
            self.outputs[key] = self._compute(name)
        return self.outputs[key]

    def model(self, name: str, context: BuildContext) -> Recognizer:
        """Builds the model of a stage, without initial weights."""
        return build_recognizer(self.catalog, self.job.stages[name], name, context)

    def initial_model(self, name: str) -> Recognizer:
        """Builds the model of a stage for the clips that its chains give, without initial weights."""
        _, _, built = stage_chains(self.job, name, self.catalog, self._stored(name))
        return self.model(name, built)

    def _compute(self, name: str) -> StageOutput:
        stage, stored = self.job.stages[name], self._stored(name)
        augment, degrade, built = stage_chains(self.job, name, self.catalog, stored)
        model = self.model(name, built)
        transfers: Transfers = {}
        for part, source in stage.initial_weights.items():
            state = self._part_state(source.stage, part)
            transfers[part] = check_transfer(model_part(model, part), source, state)
        if not stage.steps:
            if all(self.job.stages[source].data in self.facts for source in stage.source_stages):
                require_loaded(model, transfers, name)
            return self._loaded(stage, model, built)
        build_optimizer(model, stage.trained_by)
        assert stored.clip is not None
        facts, split = self.facts[stage.data], stage.split or self.facts[stage.data].splits[0]
        if stage.auxiliary_norm:
            add_auxiliary(model, name)
        views = 1 if stage.consistency is None else VIEWS
        preprocess = Preprocessing(augment, degrade, torch.device("cpu"), views)
        count = max(1, min(2, stage.batch_size // (self.workers * stage.accumulate)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.job.seed)
            batch = preprocess(example_batch(stored.clip, facts.targets, facts.layouts.get(split), count))
            with second_set(model, degraded_samples(batch)), recorded_features(model) as features:
                outputs = model.train()(batch.frames_BTCHW)
            with torch.no_grad():
                decoded = model.head.decode(outputs)
            images = isinstance(next(iter(decoded.values())), Images)
            if images and facts.dataset is not None:  # the loss depends on the clean clips
                batch = preprocess(example_batch(stored.clip, facts.targets, facts.layout(split), count))
            loss = model.head.loss(outputs, batch)
            if stage.teacher is not None:
                clean = augmented_context(self.job, name, self.catalog, stored)
                teacher = build_teacher(self.catalog, self.job, name, clean if stage.teacher.sees == "clean" else built)
                distillation = Distillation(stage.teacher, teacher, name)
                loss = distillation.loss(model.head, outputs, batch, distillation.targets(batch), features)
            if stage.consistency is not None:
                loss = loss + consistency_loss(model.head.decode(outputs), f"stages.{name}.consistency")
        if not (isinstance(loss, Tensor) and loss.ndim == 0):
            raise JobError("the head's loss is no scalar", f"stages.{name}.head", "return the mean over the clips")
        if not loss.requires_grad:
            raise JobError("no parameter has a gradient", f"stages.{name}", "train at least one parameter of the loss")
        loss.backward()
        self._check_gradients(name, stage, model)
        metrics = target_metrics(model.head, decoded, facts.targets)
        criterion = None if stage.validate_ is None else require_metric(metrics, stage.validate_.metric)
        if criterion is not None and criterion.target not in batch.targets:
            do = "name other data, or validate.metric: loss"
            raise JobError(f"the data have no target {criterion.target!r}", f"stages.{name}.validate.metric", do)
        if stage.validation_data != stage.data and stage.validation_data in self.facts:
            self._check_other_validation(name, model, metrics)
        classes = {key: value.classes if isinstance(value, Categories) else () for key, value in decoded.items()}
        shapes = {key: value.shape for key, value in without_auxiliary(model.state_dict()).items()}
        return StageOutput(images, classes, metrics, shapes)

    @torch.no_grad()
    def _check_other_validation(self, name: str, model: Recognizer, metrics: Iterable[str]) -> None:
        """Computes the loss of a batch of the other data that a stage is validated on."""
        stage = self.job.stages[name]
        facts, stored = self.facts[stage.validation_data], self._stored(name, stage.validation_data)
        require_same_targets(metrics, self.facts[stage.data].targets, facts.targets, name)
        augment, degrade, _ = validation_chains(self.job, name, self.catalog, stored)
        assert stored.clip is not None
        layout = facts.layouts.get("" if stage.validate_ is None else stage.validate_.split)
        batch = Preprocessing(augment, degrade, torch.device("cpu"))(
            example_batch(stored.clip, facts.targets, layout, 1)
        )
        try:
            model.head.loss(model.eval()(batch.frames_BTCHW), batch)
        except (RuntimeError, KeyError, ValueError) as error:
            clip = f"{stored.clip.width}x{stored.clip.height} pixels, {stored.clip.length} frames"
            what = f"the model cannot be validated on clips of {clip}: {type(error).__name__}: {error}"
            raise JobError(what, f"stages.{name}.validate.data", "choose data with the clips of the stage") from error

    def _loaded(self, stage: Stage, model: Recognizer, context: BuildContext) -> StageOutput:
        """The output of a stage that is only loaded, for a blank clip."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            decoded = model.head.decode(model.eval()(blank_clip(context)))
        classes = {key: value.classes if isinstance(value, Categories) else () for key, value in decoded.items()}
        shapes = {key: value.shape for key, value in model.state_dict().items()}
        metrics = target_metrics(model.head, decoded, self.facts[stage.data].targets)
        return StageOutput(isinstance(next(iter(decoded.values())), Images), classes, metrics, shapes)

    def _check_gradients(self, name: str, stage: Stage, model: nn.Module) -> None:
        """Several workers wait for the gradient of every parameter; the second step fails if there is none."""
        without = [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None]
        if not without:
            return
        shown = ", ".join(without[:_SHOWN]) + (f" and {len(without) - _SHOWN} more" if len(without) > _SHOWN else "")
        do = "use them in `forward`, remove them, or freeze them with optimizer.scale_lr: {NAME: 0}"
        if self.several:
            what = f"parameters without a gradient, which several workers cannot train: {shown}"
            raise JobError(what, f"stages.{name}", do)
        self.notes.append(f"stage {name}: parameters without a gradient: {shown}; with several workers, {do}")

    def _stored(self, name: str, data: str | None = None) -> BuildContext:
        """The context of the clips as they are stored: of a stage's data, or of others."""
        stage = self.job.stages[name]
        facts = self.facts[data or stage.data]
        sampler = stage_frame_sampler(stage, self.job.seed, facts.clip)
        clip = facts.clip if sampler is None else sampler.output_clip(facts.clip)
        counts = facts.class_counts.get(stage.split or facts.splits[0])
        if counts is None:  # not counted yet
            counts = {
                key: (1,) * len(target.classes) for key, target in facts.targets.items() if target.kind == "class"
            }
        return BuildContext(self.job.seed, clip, facts.targets, counts=counts)

    def _part_state(self, source: str | None, part: str) -> Mapping[str, Tensor] | None:
        """Weights of a part of another stage's model before training; None without a stage or known data.

        Args:
            part: as in `Stage.initial_weights`.
        """
        if source is None or self.job.stages[source].data not in self.facts:
            return None
        return part_weights(self.initial_model(source).state_dict(), part)

    def _key(self, name: str) -> str:
        """Everything that the check of a stage's model depends on."""
        stage = self.job.stages[name]
        used = {
            "data",
            "split",
            "frames",
            "augment",
            "degrade",
            "backbone",
            "head",
            "heads",
            "start_from",
            "steps",
            "optimizer",
            "accumulate",
            "teacher",
            "consistency",
            "auxiliary_norm",
        }
        values = stage.model_dump(mode="json", by_alias=True, include=used | {"batch_size", "validate_"})
        stored = self._stored(name)
        empty = [key for key, counts in stored.counts.items() if 0 in counts]
        layout = self.facts[stage.data].layouts.get(stage.split or self.facts[stage.data].splits[0])
        for source in stage.source_stages:
            values[source] = self.job.stages[source].model_dump(mode="json", include={"backbone", "head"})
        facts = [repr(stored.clip), repr(stored.targets), repr(layout and layout.clean_shape), empty, self.workers]
        return json.dumps([values, facts], sort_keys=True)


def require_split(facts: DataFacts, split: str, where: str) -> None:
    """Checks that data have a split with samples.

    Raises:
        JobError: the data lack it.
        DataError: it has no sample.
    """
    if split not in facts.splits:
        raise JobError(f"there is no split {split!r}", where, f"use one of: {', '.join(facts.splits)}")
    if facts.samples.get(split) == 0:
        raise DataError(f"the split {split!r} has no sample", where, "name another split, or prepare more data")
