"""What a page shows, of one run or of several: arms, conditions, numbers and decisions, brought together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from blear.errors import RunError
from blear.evaluate.compare import compare_runs
from blear.evaluate.pool import pool_predictions
from blear.evaluate.predictions import class_names
from blear.evaluate.summary import Difference, Estimate, MetricInfo, Summary
from blear.job.schema import CLEAN
from blear.report.files import RunFiles, Sweep
from blear.report.theme import color, variable


@dataclass(frozen=True)
class Arm:
    """An arm of a run; `label` is unique on the page, `number` chooses its colour."""

    label: str
    name: str
    run: RunFiles
    number: int

    @property
    def bound(self) -> bool:
        """Whether it is an upper bound, tested on clean frames at every level."""
        return self.name in self.run.info.clean_arms

    @property
    def color(self) -> str:
        """Its colour in figures."""
        return color(self.number)

    @property
    def variable(self) -> str:
        """Its colour in CSS."""
        return variable(self.number)


@dataclass(frozen=True)
class View:
    """Runs that are shown together, the first one's first arm being the reference.

    Attributes:
        sweeps: the swept conditions, the first run's first; levels mildest first.
        summary: of all arms, under their labels.
    """

    runs: Sequence[RunFiles]
    arms: list[Arm]
    sweeps: list[Sweep]
    summary: Summary

    @property
    def main(self) -> Sweep:
        """The first swept condition."""
        return self.sweeps[0]

    @property
    def headline(self) -> MetricInfo:
        """The metric that the evaluation is judged by."""
        return self.summary.metrics[0]

    @property
    def bounds(self) -> set[str]:
        """Labels of the upper bounds."""
        return {arm.label for arm in self.arms if arm.bound}

    @cached_property
    def predictions(self) -> pa.Table:
        """The predictions of the target under the labels of the page."""
        return _merged(self.runs, self.arms, self.summary.target)

    @cached_property
    def decisions(self) -> pa.Table:
        """One row for each decision: the predictions, pool_predictions where the evaluation pools."""
        pool = self.summary.pool
        return self.predictions if pool is None else pool_predictions(self.predictions, pool.by, pool.score)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty for values."""
        return class_names(self.runs[0].predictions)

    @cached_property
    def _estimates(self) -> dict[tuple[str, str, float, str], Estimate]:
        return {(e.arm, e.condition, e.severity, e.metric): e for e in self.summary.estimates}

    @cached_property
    def _differences(self) -> dict[tuple[str, str, float], Difference]:
        return {(d.arm, d.condition, d.severity): d for d in self.summary.differences}

    def estimate(self, arm: str, condition: str, severity: float, metric: str | None = None) -> Estimate | None:
        """One estimate, of the headline metric unless another is named; None where the arm was not tested."""
        return self._estimates.get((arm, condition, severity, metric or self.headline.name))

    def difference(self, arm: str, condition: str, severity: float) -> Difference | None:
        """The headline metric minus that of the reference arm; None where there is nothing to compare."""
        return self._differences.get((arm, condition, severity))

    def clean(self, arm: str) -> Estimate | None:
        """The headline metric on untouched frames, where they were tested."""
        return self.estimate(arm, CLEAN, 0.0)


def view_of(runs: Sequence[RunFiles]) -> View:
    """Several runs as one.

    Raises:
        RunError: they do not answer the same question (`evaluate.compare`), or sweep another parameter under the same
            name of a condition.
    """
    first = runs[0].summary
    roots = [str(run.root) for run in runs]
    summary = first if len(runs) == 1 else compare_runs(roots, resamples=first.resamples, seed=first.seed)
    sweeps: dict[str, Sweep] = {}
    for run in runs:
        for sweep in run.info.sweeps:
            sweeps[sweep.condition] = _joined(sweeps.get(sweep.condition), sweep, run)
    return View(runs, _arms(runs), list(sweeps.values()), summary)


def _arms(runs: Sequence[RunFiles]) -> list[Arm]:
    """Labels as `evaluate.compare` gives them."""
    pairs = [(run, arm) for run in runs for arm in run.summary.arms]
    known = [arm for _, arm in pairs]
    labels = [arm if known.count(arm) == 1 else f"{run.root.resolve().name}/{arm}" for run, arm in pairs]
    return [Arm(label, arm, run, n) for n, (label, (run, arm)) in enumerate(zip(labels, pairs, strict=True))]


def _joined(known: Sweep | None, sweep: Sweep, run: RunFiles) -> Sweep:
    if known is None:
        return sweep
    if known.parameter != sweep.parameter:
        what = f"{sweep.condition!r} sweeps {sweep.parameter} here, {known.parameter} in another run"
        raise RunError(what, str(run.root), "give the sweeps different labels")
    levels = sorted({*known.levels, *sweep.levels}, reverse=known.levels[0] > known.levels[-1])
    return known.model_copy(update={"levels": levels})


def _merged(runs: Sequence[RunFiles], arms: Sequence[Arm], target: str) -> pa.Table:
    tables = []
    for run in runs:
        labels = {arm.name: arm.label for arm in arms if arm.run is run}
        table = run.predictions.filter(pc.field("target") == target)
        renamed = pa.array([labels[name] for name in table["arm"].to_pylist()], pa.string())
        tables.append(table.set_column(table.column_names.index("arm"), table.schema.field("arm"), renamed))
    return pa.concat_tables(tables)
