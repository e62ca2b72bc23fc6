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
from safetensors.torch import load_model
from torch import Tensor

from blear.contracts import BuildContext, Categories, Decoded, Images, Metric, Values
from blear.data.decoded.store import Store
from blear.data.frame_sampling import FrameSampler, SlidingWindows
from blear.data.loader import sequential_batches
from blear.data.prepared import Prepared
from blear.data.raw_batch import RawBatch
from blear.degradation.chain import Chain, as_float
from blear.errors import DataError, JobError
from blear.evaluate.frames_cache import DegradedFramesCache
from blear.evaluate.prediction_rows import ClipColumns, PredictionContext, Priors, prediction_rows
from blear.evaluate.sweep import Level, levels
from blear.evaluate.transform import condition_chain, evaluation_transform
from blear.job.schema import CLEAN, Arm, Evaluate, Job
from blear.plugin.catalog import Catalog
from blear.plugin.decoded_targets import target_metrics
from blear.progress import ProgressBar
from blear.storage.run_folder import RunFolder
from blear.train.model import Recognizer, build_recognizer, stage_frame_sampler
from blear.train.plan import seed_runs


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
        self.levels = levels(self.evaluate, self.catalog, self.context)
        self.priors = self._priors() if self.evaluate.without_face == "prior" else None
        self.models: dict[str, Recognizer] = {}
        self.trainings = {seed: run for seed, (_, run) in seed_runs(self.job, self.run).items()}
        self._seed = next(iter(self.trainings))
        self.frames_cache = DegradedFramesCache()
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
        for _ in self._each_seed():
            for label, arm in self.evaluate.arms.items():
                for level in self.levels:
                    stage = self.stage_of(arm, level)
                    if stage is not None:
                        yield from self._predict(label, arm, stage, level, self.store)
                        bar.advance(1, label)

    def validation(self, split: str) -> Iterator[pa.Table]:
        """Yields predictions of another split, for the fit of temperatures: one pass for each stage of each arm.

        A stage is evaluated on clean frames; an expert is evaluated at its first level.
        """
        store = self._store(split)
        clean = Level(CLEAN, None, "", 0.0)
        for _ in self._each_seed():
            for label, arm in self.evaluate.arms.items():
                done: set[str] = set()
                for level in (clean, *self.levels):
                    stage = self.stage_of(arm, level)
                    if stage is not None and stage not in done:
                        done.add(stage)
                        yield from self._predict(label, arm, stage, level, store)

    def _each_seed(self) -> Iterator[int]:
        """Yields the training seeds; the models are those of the yielded seed."""
        for seed in self.trainings:
            if seed != self._seed:
                self._seed = seed
                self.models.clear()
            yield seed

    def _store(self, split: str) -> Store:
        return Store.open(self.data, split, max_broken=self.job.max_broken, cache_gb=self.job.cluster.cache_gb)

    @torch.no_grad()
    def _predict(self, label: str, arm: Arm, stage: str, level: Level, store: Store) -> Iterator[pa.Table]:
        """Yields the predictions of one stage at one level, one table for each batch and target."""
        model = self._model(stage)
        classes = {name: target.classes for name, target in self.context.targets.items()}
        restorer = self._model(level.format_stage(arm.restore)) if arm.restore is not None else None
        for raw, degraded, kbps_B in self._degraded_batches(arm, stage, level, store):
            frames = degraded if restorer is None else _restore(restorer, degraded)
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
                yield prediction_rows(context, clips, truth_B, _on_cpu(output), self.priors)
            self.metrics |= metrics

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
        self, arm: Arm, stage: str, level: Level, store: Store
    ) -> Iterator[tuple[RawBatch, Tensor, np.ndarray]]:
        """Yields (stored batch, degraded frames [B, T, C, H, W], bit rate in kbit/s [B] or NaN) of one stage and level.

        Frames that a codec has degraded are cached: arms with the same input share them.
        """
        transform, context = self.transform(stage)
        windows = self.evaluate.windows
        if windows is not None and context.clip is not None:
            context = replace(context, clip=replace(context.clip, length=windows.length))
        degrade = None if arm.clean else self.chain(level, context)
        trained = self.job.stages[stage]
        input_key = repr((level, trained.frames, self.job.data[trained.data].extra[0], trained.augment))
        several = len(self.evaluate.arms) * len(self.trainings) > 1
        cached = degrade is not None and degrade.begins_on_cpu and store is self.store and several
        for number, raw in enumerate(
            sequential_batches(store, self.evaluate.batch_size, frame_sampler=self._frame_sampler(stage))
        ):
            frames = transform(as_float(raw.frames_BTCHW, self.device), raw.epochs_B, raw.samples_B)
            kbps_B = np.full(len(frames), np.nan)
            if degrade is not None:
                compute = partial(degrade.coded, frames, raw.epochs_B, raw.samples_B)
                frames, kbps_B = self.frames_cache((input_key, number), compute) if cached else compute()
            if not bool(frames.isfinite().all()):
                do = "fix the degradation, or change its parameters"
                raise DataError("frames are not finite", f"evaluate.sweep ({level.condition}, {level.severity:g})", do)
            yield raw, frames, kbps_B

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

    def _model(self, stage: str) -> Recognizer:
        """Returns the trained model of a stage in evaluation mode on the device; read once, then kept in `models`."""
        if stage not in self.models:
            _, context = self.transform(stage)
            model = build_recognizer(self.catalog, self.job.stages[stage], stage, context)
            load_model(model, str(self.trainings[self._seed].weights(stage)))
            self.models[stage] = model.eval().to(self.device)
        return self.models[stage]


def _on_cpu(decoded: Decoded) -> Values | Categories:
    if isinstance(decoded, Values):
        return Values(decoded.values_BT.float().cpu())
    assert isinstance(decoded, Categories)  # images have no metrics
    return Categories(decoded.classes, decoded.probabilities_BTK.float().cpu())


def _restore(restorer: Recognizer, frames_BTCHW: Tensor) -> Tensor:
    """Replaces the centre of the frames by the restored image [B, T, C, h, w].

    The restored image is smaller than the frames where the convolutions have no padding; the border stays as it is.

    Raises:
        JobError: the head of the stage does not return images.
    """
    decoded = next(iter(restorer.head.decode(restorer(frames_BTCHW)).values()))
    if not isinstance(decoded, Images):
        raise JobError(
            "`restore` names a stage whose head returns no images", "evaluate.arms", "name a restoration stage"
        )
    restored = frames_BTCHW.clone()
    height, width = decoded.frames_BTCHW.shape[-2:]
    top, left = (restored.shape[-2] - height) // 2, (restored.shape[-1] - width) // 2
    restored[..., top : top + height, left : left + width] = decoded.frames_BTCHW
    return restored
