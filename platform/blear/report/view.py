"""The content of a page: arms, conditions, results and decisions of one run or of several runs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from blear.evaluate.compare import compare_runs
from blear.evaluate.pool import pool_predictions
from blear.evaluate.predictions import class_names
from blear.evaluate.statistics.results import PairedTest
from blear.evaluate.summary import Difference, Estimate, MetricInfo, Summary
from blear.job.schema import CLEAN
from blear.report.run_files import RunFiles
from blear.report.run_info import Sweep
from blear.report.theme import arm_color, arm_variable


@dataclass(frozen=True)
class Arm:
    """An arm of a run.

    Attributes:
        label: unique on the page.
        name: in its run.
        number: index on the page, which selects the colour.
    """

    label: str
    name: str
    run: RunFiles
    number: int

    @property
    def is_upper_bound(self) -> bool:
        """Whether the arm is an upper bound, evaluated on clean frames at every level."""
        return self.name in self.run.info.clean_arms

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates for one face; None: not counted."""
        known = self.run.info.arms.get(self.name)
        return None if known is None else known.macs

    @property
    def color(self) -> str:
        """The colour in figures."""
        return arm_color(self.number)

    @property
    def variable(self) -> str:
        """The colour as a CSS variable."""
        return arm_variable(self.number)


@dataclass(frozen=True)
class View:
    """The runs of a page, and the results for one of their targets. The reference of the first run is that of all.

    Attributes:
        runs: the files of each run.
        arms: the arms of all runs.
        sweeps: the swept conditions, those of the first run first; levels mildest first.
        summary: results of all arms under their labels. Those of further targets are `summary.other_targets`.
    """

    runs: Sequence[RunFiles]
    arms: list[Arm]
    sweeps: list[Sweep]
    summary: Summary

    @property
    def first_sweep(self) -> Sweep:
        """The first swept condition."""
        return self.sweeps[0]

    @property
    def headline(self) -> MetricInfo:
        """The headline metric."""
        return self.summary.metrics[0]

    @property
    def targets(self) -> list[str]:
        """Names of the targets of the page."""
        return [each.target for each in (self.summary, *self.summary.other_targets)]

    def other_views(self) -> list[View]:
        """Returns the views of the further targets, each with the arms that predict it."""
        return [
            replace(self, summary=each, arms=[arm for arm in self.arms if arm.label in each.arms])
            for each in self.summary.other_targets
        ]

    @property
    def upper_bounds(self) -> set[str]:
        """Labels of the arms that are upper bounds."""
        return {arm.label for arm in self.arms if arm.is_upper_bound}

    @cached_property
    def predictions(self) -> pa.Table:
        """The predictions of the target, with the labels of the page as arms."""
        return _merge_predictions(self.runs, self.arms, self.summary.target)

    @cached_property
    def decisions(self) -> pa.Table:
        """One row for each decision: the predictions, pooled where the evaluation has a pool."""
        pool = self.summary.pool
        return self.predictions if pool is None else pool_predictions(self.predictions, pool.by, pool.score)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty for a regression target."""
        return class_names(self.predictions)

    @cached_property
    def _estimates(self) -> dict[tuple[str, str, float, str], Estimate]:
        return {(e.arm, e.condition, e.severity, e.metric): e for e in self.summary.estimates}

    @cached_property
    def _differences(self) -> dict[tuple[str, str, float], Difference]:
        return {(d.arm, d.condition, d.severity): d for d in self.summary.differences}

    @cached_property
    def _headline_tests(self) -> dict[tuple[str, str, float | None], PairedTest]:
        tests = (test for test in self.summary.tests if test.of_headline)
        return {(test.arm, test.condition, test.severity): test for test in tests}

    def estimate(self, arm: str, condition: str, severity: float, metric: str | None = None) -> Estimate | None:
        """Returns one estimate; None where the arm was not evaluated. `metric` None: the headline metric."""
        return self._estimates.get((arm, condition, severity, metric or self.headline.name))

    def difference(self, arm: str, condition: str, severity: float) -> Difference | None:
        """Returns the difference of the headline metric from the reference arm; None where there is none."""
        return self._differences.get((arm, condition, severity))

    def headline_test(self, arm: str, condition: str, severity: float | None) -> PairedTest | None:
        """Returns the test of the headline metric against the reference arm; None where there is none."""
        return self._headline_tests.get((arm, condition, severity))

    def clean(self, arm: str) -> Estimate | None:
        """Returns the headline metric on clean frames; None where they were not evaluated."""
        return self.estimate(arm, CLEAN, 0.0)


def build_view(runs: Sequence[RunFiles]) -> View:
    """Combines runs to one view.

    Raises:
        RunError: the runs cannot be compared (`evaluate.compare`).
    """
    first = runs[0].summary
    roots = [str(run.root) for run in runs]
    summary = first if len(runs) == 1 else compare_runs(roots, resamples=first.resamples, seed=first.seed)
    sweeps: dict[str, Sweep] = {}
    for run in runs:
        for sweep in run.info.sweeps:
            sweeps[sweep.condition] = _join_sweeps(sweeps.get(sweep.condition), sweep)
    return View(runs, _arms(runs), list(sweeps.values()), summary)


def _arms(runs: Sequence[RunFiles]) -> list[Arm]:
    """Returns the arms of all runs, with the labels of `evaluate.compare`."""
    pairs = [(run, arm) for run in runs for arm in run.summary.arms]
    known = [arm for _, arm in pairs]
    labels = [arm if known.count(arm) == 1 else f"{run.root.resolve().name}/{arm}" for run, arm in pairs]
    return [Arm(label, arm, run, n) for n, (label, (run, arm)) in enumerate(zip(labels, pairs, strict=True))]


def _join_sweeps(known: Sweep | None, sweep: Sweep) -> Sweep:
    if known is None:
        return sweep
    levels = sorted({*known.levels, *sweep.levels}, reverse=known.levels[0] > known.levels[-1])
    return known.model_copy(update={"levels": levels})


def _merge_predictions(runs: Sequence[RunFiles], arms: Sequence[Arm], target: str) -> pa.Table:
    tables = []
    for run in runs:
        labels = {arm.name: arm.label for arm in arms if arm.run is run}
        table = run.predictions.filter(pc.field("target") == target)
        renamed = pa.array([labels[name] for name in table["arm"].to_pylist()], pa.string())
        tables.append(table.set_column(table.column_names.index("arm"), table.schema.field("arm"), renamed))
    return pa.concat_tables(tables)
