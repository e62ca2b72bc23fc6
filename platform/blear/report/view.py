"""What a page shows, of one run or of several: arms, conditions, numbers and decisions, brought together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from blear.errors import RunError
from blear.evaluate.findings import Part
from blear.evaluate.pool import pooled
from blear.evaluate.predictions import class_names
from blear.evaluate.summarise import Asked, summarise
from blear.evaluate.summary import Difference, Estimate, MetricInfo, Summary
from blear.job import CLEAN
from blear.metrics import CLASSIFICATION, REGRESSION
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
        """One row for each decision: the predictions, pooled where the evaluation pools."""
        pool = self.summary.pool
        return self.predictions if pool is None else pooled(self.predictions, pool.by, pool.score)

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
        RunError: they do not answer the same question: another target, other classes or metrics, another split, or
            another parameter under the same name of a condition.
    """
    arms = _arms(runs)
    for run in runs[1:]:
        _require_alike(run, runs[0])
    sweeps: dict[str, Sweep] = {}
    for run in runs:
        for sweep in run.info.sweeps:
            sweeps[sweep.condition] = _joined(sweeps.get(sweep.condition), sweep, run)
    return View(runs, arms, list(sweeps.values()), _summary(runs, arms))


def _arms(runs: Sequence[RunFiles]) -> list[Arm]:
    names = [run.info.name for run in runs]
    titles = [n if names.count(n) == 1 else run.root.resolve().name for n, run in zip(names, runs, strict=True)]
    pairs = [(title, run, arm) for title, run in zip(titles, runs, strict=True) for arm in run.summary.arms]
    known = [arm for _, _, arm in pairs]
    labels = [arm if known.count(arm) == 1 else f"{title}/{arm}" for title, _, arm in pairs]
    if len(set(labels)) < len(labels):
        where = ", ".join(str(run.root) for run in runs)
        raise RunError("two runs have the same name and arm", where, "give each run once, or rename a run folder")
    return [Arm(label, arm, run, n) for n, (label, (_, run, arm)) in enumerate(zip(labels, pairs, strict=True))]


def _require_alike(run: RunFiles, first: RunFiles) -> None:
    what = {
        "target": (run.summary.target, first.summary.target),
        "headline metric": (run.summary.metrics[0].name, first.summary.metrics[0].name),
        "split": (run.info.split, first.info.split),
        "classes": (class_names(run.predictions), class_names(first.predictions)),
        "decisions": (run.summary.pool, first.summary.pool),
    }
    for name, (ours, theirs) in what.items():
        if ours != theirs:
            text = f"its {name}: {_plain(ours)}; of {first.root.name}: {_plain(theirs)}"
            raise RunError(text, str(run.root), "compare runs that were evaluated alike")


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value) if value is not None else "each row"


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


def _summary(runs: Sequence[RunFiles], arms: Sequence[Arm]) -> Summary:
    """The run's own summary; of several runs one of all their predictions, so that differences are paired."""
    first = runs[0].summary
    if len(runs) == 1:
        return first
    known = {metric.name: metric for metric in (*CLASSIFICATION, *REGRESSION)}
    if all(metric.name in known for metric in first.metrics):
        groups = {sweep.condition: sweep.group for run in runs for sweep in run.info.sweeps}
        return summarise(
            _merged(runs, arms, first.target),
            [known[metric.name] for metric in first.metrics],
            reference=arms[0].label,
            seed=first.seed,
            resamples=first.resamples,
            pool=first.pool,
            asked=Asked(groups=groups),
        )
    parts = {name: [one for run in runs for one in _relabelled(run, arms, name)] for name in _LISTS}
    update = {"arms": [arm.label for arm in arms], "reference": arms[0].label}
    return first.model_copy(update=update | parts)


_LISTS = (
    "estimates",
    "differences",
    "tests",
    "equivalence",
    "scalars",
    "calibration",
    "confusion",
    "slices",
    "rates",
    "bd",
)


def _relabelled(run: RunFiles, arms: Sequence[Arm], name: str) -> list[Part]:
    """Entries of a run's own summary under the labels of the page, where a metric is not known here."""
    labels = {arm.name: arm.label for arm in arms if arm.run is run}
    entries = getattr(run.summary, name) if name != "differences" or run is arms[0].run else []
    return [
        one.model_copy(update={key: labels[getattr(one, key)] for key in ("arm", "against") if hasattr(one, key)})
        for one in entries
    ]
