"""Runs the models of the arms over the sweep and yields their predictions as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from blear.contracts import BuildContext, Categories, Metric
from blear.data.decoded.store import Store
from blear.data.frame_sampling import FrameSampler, SlidingWindows
from blear.data.loader import count_batches, sequential_batches
from blear.data.prepared import Prepared
from blear.data.raw_batch import RawBatch
from blear.degradation.chain import Chain, as_float
from blear.errors import DataError, JobError
from blear.evaluate.blocks import Block
from blear.evaluate.frames_cache import CodedFrames, DegradedFramesCache, pack_frames, unpack_frames
from blear.evaluate.prediction_rows import ClipColumns, PredictionContext, Priors, prediction_rows
from blear.evaluate.restoration import decoded_on_cpu, restore
from blear.evaluate.sweep import Level, levels
from blear.evaluate.transform import condition_chain, evaluation_transform
from blear.job.schema import CLEAN, Arm, Evaluate, Job
from blear.plugin.catalog import Catalog
from blear.plugin.decoded_targets import target_metrics
from blear.progress import ProgressBar
from blear.storage.run_folder import RunFolder
from blear.train.model import Recognizer, build_for_loading, stage_frame_sampler
from blear.train.plan import seed_runs
from blear.train.state_copy import load_state


@dataclass
class Evaluator:
    """Runs the models of arms at the levels of a sweep.

    Attributes:
        prepared: name of the data in the job -> folder or URL of the prepared dataset.
        store: the evaluated split.
        levels: levels of all sweeps, the clean level first.
        models: stage -> model. A stage that is missing here is read from the run folder at its first use. With several
            training seeds: the models of one seed at a time.
        metrics: target -> its metrics, the headline metric first, of the stages evaluated so far. The first target is
            the headline target.
    """

    job: Job
    evaluate: Evaluate
    catalog: Catalog
    run: RunFolder
    prepared: Mapping[str, str | Path]
    device: torch.device

    def __post_init__(self) -> None:
        template = next(iter(self.evaluate.arms.values())).stage
        prefix = template.split("{")[0]
        first = template if template in self.job.stages else next(n for n in self.job.stages if n.startswith(prefix))
        data = Prepared.open(self.prepared[self.evaluate.data or self.job.stages[first].data])
        self.clip = data.clip
        self.context = BuildContext(self.job.seed, data.clip, data.targets)
        self.data = data
        self.store = self._store(self.evaluate.split)
        self._stores = {self.evaluate.split: self.store}
        self.levels = levels(self.evaluate, self.catalog, self.context)
        self.priors = self._priors() if self.evaluate.without_face == "prior" else None
        self.models: dict[str, Recognizer] = {}
        self.trainings = {seed: run for seed, (_, run) in seed_runs(self.job, self.run).items()}
        self._seed = next(iter(self.trainings))
        self.frames_cache = DegradedFramesCache()
        self._coded: dict[str, bool] = {}  # input key -> whether a codec degrades the frames
        self.metrics: dict[str, Sequence[Metric]] = {}

    def stage_of(self, arm: Arm, level: Level) -> str | None:
        """Returns the stage of an arm at a level; None where a family of experts has no stage for the level."""
        name = level.format_stage(arm.stage)
        needs = [name] if arm.restore is None else [name, level.format_stage(arm.restore)]
        return name if all(stage in self.job.stages for stage in needs) else None

    def chain(self, level: Level, context: BuildContext | None = None) -> Chain:
        """Returns the degradations of a level.

        Args:
            context: shape of the clips; None: the stored shape.
        """
        return condition_chain(self.evaluate, level, self.catalog, context or self.context)

    def sweeps(self) -> list[dict[str, Any]]:
        """Returns the entry `sweeps` of run.json: one for each condition, levels in the job's order, mildest first."""
        return [
            {
                "condition": condition,
                "use": sweep.use,
                "group": sweep.group,
                "parameter": next(level.parameter for level in self.levels if level.condition == condition),
                "levels": [level.severity for level in self.levels if level.condition == condition],
            }
            for condition, sweep in self.evaluate.sweeps.items()
        ]

    def require_levels(self) -> None:
        """Checks that every arm has a stage for at least one level, and that the stages have the evaluated data.

        Raises:
            JobError: an arm has no stage; the message lists the parameters that its stage name can refer to. Or the job
                names no data to evaluate on and the stages of the arms have different data.
        """
        self._require_same_data()
        parameters = sorted({level.parameter for level in self.levels if level.use} | {"condition"})
        for label, arm in self.evaluate.arms.items():
            if not any(self.stage_of(arm, level) for level in self.levels):
                do = f"name a stage for each value of: {', '.join(parameters)}"
                raise JobError(f"no level has a stage for this arm: {arm.stage}", f"evaluate.arms.{label}", do)

    def _require_same_data(self) -> None:
        if self.evaluate.data is not None:
            return
        arms = self.evaluate.arms
        found: dict[str, str] = {}
        for label, stage in ((a, self.stage_of(arm, level)) for a, arm in arms.items() for level in self.levels):
            if stage is not None:
                data = self.job.stages[stage].data
                found.setdefault(data, f"arm {label!r} (stage {stage!r}) has {data!r}")
        if len(found) > 1:
            what = f"the arms have different data, but are compared on the same samples: {', '.join(found.values())}"
            raise JobError(what, "evaluate", "set evaluate.data to the data that all of them are tested on")

    def tables(self, bar: ProgressBar) -> Iterator[pa.Table]:
        """Yields one table of predictions for each training seed, arm, level, batch and target."""
        for block in self.blocks():
            yield from self.predict(block)
            bar.advance(1, block.arm)

    def blocks(self) -> list[Block]:
        """Returns the passes over the evaluated split, in the order of the predictions table."""
        return [
            Block(seed, label, stage, level, self.evaluate.split)
            for seed in self.trainings
            for label, arm in self.evaluate.arms.items()
            for level in self.levels
            if (stage := self.stage_of(arm, level)) is not None
        ]

    def validation_blocks(self, split: str) -> list[Block]:
        """Returns the passes over another split, for the fit of temperatures: one for each stage of each arm.

        A stage is evaluated on clean frames; an expert is evaluated at its first level.
        """
        clean = Level(CLEAN, None, "", 0.0)
        found: dict[tuple[int, str, str], Block] = {}
        for seed in self.trainings:
            for label, arm in self.evaluate.arms.items():
                for level in (clean, *self.levels):
                    stage = self.stage_of(arm, level)
                    if stage is not None:
                        found.setdefault((seed, label, stage), Block(seed, label, stage, level, split))
        return list(found.values())

    def validation(self, split: str) -> Iterator[pa.Table]:
        """Yields the predictions of `validation_blocks`."""
        for block in self.validation_blocks(split):
            yield from self.predict(block)

    def count_batches(self, block: Block) -> int:
        """Returns the number of batches of a whole pass."""
        store = self._store_of(block.split)
        return count_batches(store, self.evaluate.batch_size, self._frame_sampler(block.stage))

    def _store_of(self, split: str) -> Store:
        """Returns a split of the evaluated data; opened once."""
        if split not in self._stores:
            self._stores[split] = self._store(split)
        return self._stores[split]

    def _store(self, split: str) -> Store:
        return Store.open(self.data, split, max_broken=self.job.max_broken, cache_gb=self.job.cluster.cache_gb)

    @torch.no_grad()
    def predict(self, block: Block, coded: Sequence[CodedFrames] | None = None) -> Iterator[pa.Table]:
        """Yields the predictions of one stage at one level, one table for each batch and target.

        The tables do not depend on the blocks that a pass is divided into.

        Args:
            coded: the degraded frames of the block's batches, from `code`; None: they are computed here.
        """
        if block.seed != self._seed:
            self._seed = block.seed
            self.models.clear()
        label, stage, level, arm = block.arm, block.stage, block.level, self.evaluate.arms[block.arm]
        store = self._store_of(block.split)
        model = self.model(stage)
        classes = {name: target.classes for name, target in self.context.targets.items()}
        restorer = self.model(level.format_stage(arm.restore)) if arm.restore is not None else None
        for raw, degraded, kbps_B in self._degraded_batches(block, coded):
            frames = degraded if restorer is None else restore(restorer, degraded)
            decoded = model.head.decode(model(frames))
            metrics = self._evaluated(label, stage, target_metrics(model.head, decoded, self.context.targets))
            clips = self._clip_columns(store, raw.samples_B, kbps_B)
            for target in metrics:
                output = decoded[target]
                if isinstance(output, Categories) and output.classes != classes[target]:
                    what = f"stage {stage!r} has the classes {', '.join(output.classes)}, "
                    what += f"the data {', '.join(classes[target])}"
                    raise DataError(what, f"evaluate.arms.{label}", "use data with these classes in this order")
                context = PredictionContext(label, stage, level.condition, level.severity, target, self._seed, classes)
                truth_B = raw.targets[target].numpy()
                yield prediction_rows(context, clips, truth_B, decoded_on_cpu(output), self.priors)
            self.metrics |= metrics

    @torch.no_grad()
    def code(self, block: Block) -> list[CodedFrames]:
        """Returns the degraded frames of a block's batches on the CPU, for several arms and for processes with GPUs."""
        return [(pack_frames(frames.cpu()), kbps_B) for _, frames, kbps_B in self._degraded_batches(block, None)]

    def code_key(self, block: Block) -> str | None:
        """Returns a key that blocks with the same degraded frames share; None where no codec degrades the frames."""
        if self.evaluate.arms[block.arm].clean:
            return None
        key = self._input_key(block)
        if key not in self._coded:
            self._coded[key] = self.chain(block.level, self.clip_context(block.stage)[1]).begins_on_cpu
        return repr((block.split, block.batches, key)) if self._coded[key] else None

    def _evaluated(
        self, label: str, stage: str, metrics: Mapping[str, Sequence[Metric]]
    ) -> Mapping[str, Sequence[Metric]]:
        """Returns the decoded targets that the data have.

        Raises:
            JobError: the stage decodes no target with a metric.
            DataError: the data have none of its targets.
        """
        if not metrics:
            raise JobError(f"stage {stage!r} has no metric", f"evaluate.arms.{label}", "name a recognition stage")
        found = {target: of_target for target, of_target in metrics.items() if target in self.context.targets}
        if not found:
            target = next(iter(metrics))
            raise DataError(f"the data has no target {target!r}", f"evaluate.arms.{label}", "name other data")
        return found

    def _degraded_batches(
        self, block: Block, coded: Sequence[CodedFrames] | None
    ) -> Iterator[tuple[RawBatch, Tensor, np.ndarray]]:
        """Yields (stored batch, degraded frames [B, T, C, H, W], bit rate in kbit/s [B] or NaN) of one block.

        Frames that a codec has degraded are cached: arms with the same input share them.
        """
        level, store = block.level, self._store_of(block.split)
        transform, context = self.clip_context(block.stage)
        degrade = None if self.evaluate.arms[block.arm].clean else self.chain(level, context)
        several = len(self.evaluate.arms) * len(self.trainings) > 1
        cached = degrade is not None and degrade.begins_on_cpu and store is self.store and several
        frame_sampler, numbers = self._frame_sampler(block.stage), block.batches
        batches = sequential_batches(store, self.evaluate.batch_size, frame_sampler=frame_sampler, numbers=numbers)
        for number, raw in enumerate(batches):
            if coded is not None:
                packed, kbps_B = coded[number]
                frames = unpack_frames(packed.to(self.device))
            else:
                frames = transform(as_float(raw.frames_BTCHW, self.device), raw.epochs_B, raw.samples_B)
                kbps_B = np.full(len(frames), np.nan)
                if degrade is not None:
                    compute = partial(degrade.coded, frames, raw.epochs_B, raw.samples_B)
                    key = (self._input_key(block), numbers and numbers.start, number)
                    frames, kbps_B = self.frames_cache(key, compute) if cached else compute()
            if not bool(frames.isfinite().all()):
                do = "fix the degradation, or change its parameters"
                raise DataError("frames are not finite", f"evaluate.sweep ({level.condition}, {level.severity:g})", do)
            yield raw, frames, kbps_B

    def clip_context(self, stage: str) -> tuple[Chain, BuildContext]:
        """Returns the transform of stored frames to a stage's input, and the context of its clips or windows."""
        transform, context = self.transform(stage)
        windows = self.evaluate.windows
        if windows is not None and context.clip is not None:
            context = replace(context, clip=replace(context.clip, length=windows.length))
        return transform, context

    def _input_key(self, block: Block) -> str:
        """Returns a key of what the degraded frames of a block depend on besides the samples."""
        trained = self.job.stages[block.stage]
        return repr((block.level, trained.frames, self.job.data[trained.data].extra[0], trained.augment))

    def _priors(self) -> Priors:
        """Returns class target -> stage -> share of each class in its training data; of one class target the latter."""
        priors: dict[str, dict[str, list[float]]] = {}
        for stage in {self.stage_of(arm, level) for arm in self.evaluate.arms.values() for level in self.levels}:
            if stage is not None:
                data, split = Prepared.open(self.prepared[self.job.stages[stage].data]), self.job.stages[stage].split
                for target, counts in data.split(split or data.splits[0]).class_counts.items():
                    priors.setdefault(target, {})[stage] = [count / max(1, sum(counts)) for count in counts]
        return priors if len(priors) > 1 else next(iter(priors.values()), {})

    def _frame_sampler(self, stage: str) -> FrameSampler | SlidingWindows | None:
        """Returns the frame sampling of a stage: windows, else the sampling that it is validated with."""
        if self.evaluate.windows is not None:
            return SlidingWindows(self.evaluate.windows.length, self.evaluate.windows.stride)
        sampler = stage_frame_sampler(self.job.stages[stage], self.job.seed, self.clip)
        return None if sampler is None else replace(sampler, mode="even")

    def transform(self, stage: str) -> tuple[Chain, BuildContext]:
        """Returns the transform of stored frames to a stage's input, and the context that its model is built in."""
        targets = Prepared.open(self.prepared[self.job.stages[stage].data]).targets
        return evaluation_transform(self.job, stage, self.catalog, self.clip, targets)

    def _clip_columns(self, store: Store, samples_B: np.ndarray, kbps_B: np.ndarray) -> ClipColumns:
        """Returns the clips' columns; a bit rate that is unknown here is taken from the sample's metadata."""
        columns = store.metadata(samples_B)
        stored = [meta.get("kbps") for meta in columns.meta]
        return ClipColumns(
            columns.keys,
            columns.subjects,
            columns.videos,
            columns.times,
            kbps=[there if np.isnan(now) else now for now, there in zip(kbps_B, stored, strict=True)],
            face_px=[meta.get("face_px") for meta in columns.meta],
            found=[bool(meta.get("found", True)) for meta in columns.meta],
            meta=[{k: meta[k] for k in self.evaluate.slices if k in meta} for meta in columns.meta],
        )

    def model(self, stage: str) -> Recognizer:
        """Returns the trained model of a stage in evaluation mode on the device; read once, then kept in `models`."""
        if stage not in self.models:
            _, context = self.transform(stage)
            model = build_for_loading(self.catalog, self.job.stages[stage], stage, context)
            load_state(model, self.trainings[self._seed].weights(stage))
            self.models[stage] = model.eval().to(self.device)
        return self.models[stage]
