"""Runs the arms of a job over its sweep: predictions table, sample faces, summary. The only writer of predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_model
from torch import Tensor

from blear.contracts import BuildContext, Categories, Images, Metric, Values
from blear.data.decoded.store import Store
from blear.data.frame_sampling import FrameSampler, SlidingWindows
from blear.data.loader import sequential_batches
from blear.data.prepared import Prepared
from blear.degrade.chain import Chain, as_float
from blear.errors import DataError, JobError
from blear.evaluate.fitting import condition_chain, fitted
from blear.evaluate.memo import Memo
from blear.evaluate.pool import pooled
from blear.evaluate.predictions import read_predictions, rows, write_predictions
from blear.evaluate.sample_faces import write_faces
from blear.evaluate.statistics.temperature import temperatures
from blear.evaluate.summarise import Asked, as_markdown, summarise
from blear.evaluate.sweep import Level, levels
from blear.job.leakage import selected_on_reported_split
from blear.job.schema import CLEAN, Arm, Evaluate, Job, Pool
from blear.plugin.catalog import Catalog
from blear.progress import ProgressBar, track
from blear.storage.run_folder import RunFolder, write_text
from blear.train.model import Recognizer, build_recognizer, stage_frame_sampler


def evaluate_arms(
    job: Job, catalog: Catalog, run: RunFolder, prepared: Mapping[str, str | Path], device: torch.device
) -> str:
    """Tests every arm at every level; leaves predictions.parquet, faces.npz, summary.json; returns a Markdown table."""
    evaluate = job.evaluate
    if evaluate is None:
        raise JobError("this job has no `evaluate` section")
    tester = Tester(job, evaluate, catalog, run, prepared, device)
    tester.require_levels()
    passes = sum(1 for arm in evaluate.arms.values() for level in tester.levels if tester.stage_of(arm, level))
    with track("evaluate", passes) as bar:
        write_predictions(run.root / "predictions.parquet", tester.tables(bar))
        validation = run.root / "validation.parquet"
        if evaluate.temperature is not None:
            write_predictions(validation, tester.validation(evaluate.temperature))
    target, metrics = tester.headline
    run.update_info(
        arms={
            label: {"stage": arm.stage, "clean": arm.clean, "note": arm.note} for label, arm in evaluate.arms.items()
        },
        headline={
            "target": target,
            "metric": metrics[0].name,
            "label": metrics[0].label,
            "higher_is_better": metrics[0].higher_is_better,
        },
        split=evaluate.split,
        seen_in_selection=selected_on_reported_split(job),
        sweeps=tester.sweeps(),
    )
    table = read_predictions(run.root / "predictions.parquet")
    pool = evaluate.pool or (Pool() if evaluate.windows is not None else None)
    write_faces(
        run.root / "faces.npz",
        tester.store,
        tester.levels,
        tester.chain,
        device,
        count=evaluate.faces,
        decisions=table if pool is None else pooled(table, pool.by, pool.score),
    )
    summary = summarise(
        table,
        metrics,
        reference=next(iter(evaluate.arms)),
        seed=job.seed,
        resamples=evaluate.resamples,
        pool=pool,
        asked=Asked.of(evaluate, temperatures(read_predictions(validation), pool) if evaluate.temperature else {}),
    )
    write_text(run.root / "summary.json", summary.model_dump_json(indent=1))
    seen = selected_on_reported_split(job)
    note = f"\n\n{evaluate.split} chose the weights of {', '.join(seen)}: its numbers flatter them." if seen else ""
    return as_markdown(summary) + note


@dataclass
class Tester:
    """Tests arms at levels. A model in `models`, by stage, is tested as it is; others are read from the run."""

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
        self.memo = Memo()
        self.headline: tuple[str, list[Metric]] = ("", [])

    def stage_of(self, arm: Arm, level: Level) -> str | None:
        """The stage that an arm tests at a level; None where a family of experts has none for it."""
        name = level.fill(arm.stage)
        needs = [name] if arm.restore is None else [name, level.fill(arm.restore)]
        return name if all(stage in self.job.stages for stage in needs) else None

    def chain(self, level: Level, context: BuildContext | None = None) -> Chain:
        """Clean frames -> the frames of a condition.

        Args:
            context: says size and number of the frames; None: as they are stored.
        """
        return condition_chain(self.evaluate, level, self.catalog, context or self.context)

    def sweeps(self) -> list[dict[str, Any]]:
        """What run.json says of each condition; its levels in the job's order, mildest first."""
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
        """Refuses an arm that no level tests.

        Raises:
            JobError: with the parameters that a family of experts could name.
        """
        parameters = sorted({level.parameter for level in self.levels if level.use} | {"condition"})
        for label, arm in self.evaluate.arms.items():
            if not any(self.stage_of(arm, level) for level in self.levels):
                do = f"name a stage for each value of: {', '.join(parameters)}"
                raise JobError(f"no level has a stage for this arm: {arm.stage}", f"evaluate.arms.{label}", do)

    def tables(self, bar: ProgressBar) -> Iterator[pa.Table]:
        """One table of predictions for each arm, level and batch."""
        for label, arm in self.evaluate.arms.items():
            for level in self.levels:
                stage = self.stage_of(arm, level)
                if stage is not None:
                    yield from self._passes(label, arm, stage, level, self.store)
                    bar.advance(1, label)

    def validation(self, split: str) -> Iterator[pa.Table]:
        """Predictions of another split, one pass for each stage of each arm: on clean frames, or, of an expert, at the
        first of its levels."""
        store = self._store(split)
        clean = Level(CLEAN, None, "", 0.0)
        for label, arm in self.evaluate.arms.items():
            done: set[str] = set()
            for level in (clean, *self.levels):
                stage = self.stage_of(arm, level)
                if stage is not None and stage not in done:
                    done.add(stage)
                    yield from self._passes(label, arm, stage, level, store)

    def _store(self, split: str) -> Store:
        return Store.open(self.data, split, max_broken=self.job.max_broken, cache_gb=self.job.cluster.cache_gb)

    @torch.no_grad()
    def _passes(self, label: str, arm: Arm, stage: str, level: Level, store: Store) -> Iterator[pa.Table]:
        model = self._model(stage)
        restorer = self._model(level.fill(arm.restore)) if arm.restore is not None else None
        fit, context = self.fitted(stage)
        windows = self.evaluate.windows
        if windows is not None and context.clip is not None:
            context = replace(context, clip=replace(context.clip, length=windows.length))
        degrade = None if arm.clean else self.chain(level, context)
        trained = self.job.stages[stage]
        seen_as = repr((level, trained.frames, self.job.data[trained.data].extra[0], trained.augment))
        remembered = (
            degrade is not None and degrade.begins_on_cpu and store is self.store and len(self.evaluate.arms) > 1
        )
        for number, raw in enumerate(
            sequential_batches(store, self.evaluate.batch_size, frame_sampler=self._moments(stage))
        ):
            frames = fit(as_float(raw.frames_BTCHW, self.device), raw.epochs_B, raw.samples_B)
            kbps_B = np.full(len(frames), np.nan)
            if degrade is not None:
                make = partial(degrade.coded, frames, raw.epochs_B, raw.samples_B)
                frames, kbps_B = self.memo((seen_as, number), make) if remembered else make()
            if not bool(frames.isfinite().all()):
                do = "mend the degradation, or change its parameters"
                raise DataError("frames are not finite", f"evaluate.sweep ({level.condition}, {level.severity:g})", do)
            if restorer is not None:
                frames = _restored(restorer, frames)
            target, decoded = next(iter(model.head.decode(model(frames)).items()))
            metrics = list(model.head.metrics())
            if isinstance(decoded, Images) or not metrics:
                raise JobError(f"stage {stage!r} gives no metric", f"evaluate.arms.{label}", "name a recognition stage")
            if target not in raw.targets:
                raise DataError(f"the data has no target {target!r}", f"evaluate.arms.{label}", "name other data")
            classes = self.context.targets[target].classes
            if isinstance(decoded, Categories) and decoded.classes != classes:
                what = f"stage {stage!r} knows the classes {', '.join(decoded.classes)}, the data {', '.join(classes)}"
                raise DataError(what, f"evaluate.arms.{label}", "test on data with these classes in this order")
            self.headline = (target, metrics)
            yield rows(
                arm=label,
                stage=stage,
                condition=level.condition,
                severity=level.severity,
                target=target,
                truth_B=raw.targets[target].numpy(),
                decoded=_on_cpu(decoded),
                priors=self.priors,
                **self._columns(store, raw.samples_B, kbps_B),
            )

    def _priors(self) -> dict[str, list[float]]:
        """Share of each class in what every tested stage was trained on, of the first target that is a class."""
        priors = {}
        for stage in {self.stage_of(arm, level) for arm in self.evaluate.arms.values() for level in self.levels}:
            if stage is not None:
                data, split = Prepared.open(self.prepared[self.job.stages[stage].data]), self.job.stages[stage].split
                for counts in list(data.split(split or data.splits[0]).class_counts.values())[:1]:
                    priors[stage] = [count / max(1, sum(counts)) for count in counts]
        return priors

    def _moments(self, stage: str) -> FrameSampler | SlidingWindows | None:
        """Which frames of each clip a stage is tested on: windows, else those that it validates on."""
        if self.evaluate.windows is not None:
            return SlidingWindows(self.evaluate.windows.length, self.evaluate.windows.stride)
        moments = stage_frame_sampler(self.job.stages[stage], self.job.seed, self.clip)
        return None if moments is None else replace(moments, mode="even")

    def fitted(self, stage: str) -> tuple[Chain, BuildContext]:
        """What brings stored frames to what a stage sees, and the context that its model is built in."""
        targets = Prepared.open(self.prepared[self.job.stages[stage].data]).targets
        return fitted(self.job, stage, self.catalog, self.clip, targets)

    def _columns(self, store: Store, samples_B: np.ndarray, kbps_B: np.ndarray) -> dict[str, Any]:
        columns = store.metadata(samples_B)
        stored = [meta.get("kbps") for meta in columns.meta]
        return {
            "samples": columns.keys,
            "subjects": columns.subjects,
            "videos": columns.videos,
            "times": columns.times,
            "kbps": [there if np.isnan(now) else now for now, there in zip(kbps_B, stored, strict=True)],
            "face_px": [meta.get("face_px") for meta in columns.meta],
            "found": [bool(meta.get("found", True)) for meta in columns.meta],
            "meta": [{k: meta[k] for k in self.evaluate.slices if k in meta} for meta in columns.meta],
        }

    def _model(self, stage: str) -> Recognizer:
        """A trained stage, on the device, ready to test; kept, since experts come back at one level only."""
        if stage not in self.models:
            _, context = self.fitted(stage)
            model = build_recognizer(self.catalog, self.job.stages[stage], stage, context)
            load_model(model, str(self.run.weights(stage)))
            self.models[stage] = model.eval().to(self.device)
        return self.models[stage]


def _on_cpu(decoded: Values | Categories) -> Values | Categories:
    if isinstance(decoded, Values):
        return Values(decoded.values_BT.float().cpu())
    return Categories(decoded.classes, decoded.probabilities_BTK.float().cpu())


def _restored(restorer: Recognizer, frames_BTCHW: Tensor) -> Tensor:
    """Frames whose centre is the restored image; unpadded convolutions leave the border as it was."""
    decoded = next(iter(restorer.head.decode(restorer(frames_BTCHW)).values()))
    if not isinstance(decoded, Images):
        raise JobError("`restore` names a stage whose head gives no image", "evaluate.arms", "name a restoration stage")
    restored = frames_BTCHW.clone()
    height, width = decoded.frames_BTCHW.shape[-2:]
    top, left = (restored.shape[-2] - height) // 2, (restored.shape[-1] - width) // 2
    restored[..., top : top + height, left : left + width] = decoded.frames_BTCHW
    return restored
