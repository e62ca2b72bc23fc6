"""Compares the arms of several runs on the same samples, with paired tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from blear.contracts import Metric
from blear.errors import RunError
from blear.evaluate.ensemble.members import parse_arms
from blear.evaluate.predictions import (
    PRIORS_KEY,
    SCHEMA,
    TRUTH_SHARES,
    class_names,
    class_priors,
    is_distribution,
    read_predictions,
)
from blear.evaluate.summarise import SummaryOptions, summarise_targets
from blear.evaluate.summary import Summary, read_summary
from blear.metrics import CLASSIFICATION, DISTRIBUTION, REGRESSION
from blear.storage.run_folder import RunFolder


@dataclass(frozen=True)
class _EvaluatedRun:
    """An evaluated run.

    Attributes:
        info: the content of run.json.
        table: the predictions of the selected arms, under their labels in the comparison.
        labels: arm of the run -> label in the comparison.
    """

    root: Path
    summary: Summary
    info: dict[str, Any]
    table: pa.Table
    labels: dict[str, str]

    @property
    def targets(self) -> list[str]:
        """The targets of the run, the headline target first."""
        return [each.target for each in (self.summary, *self.summary.other_targets)]

    def of_target(self, target: str) -> _EvaluatedRun:
        """Returns the summary and the rows of one of the run's targets."""
        summary = self.summary.of_target(target)
        assert summary is not None
        return replace(self, summary=summary, table=self.table.filter(pc.field("target") == target))


def compare_runs(names: Sequence[str], *, against: str | None = None, resamples: int = 1000, seed: int = 0) -> Summary:
    """Computes one summary of the arms of several runs, for each target that all runs have.

    The label of an arm is its name; arms of equal names have the name of their run folder in front.

    Args:
        names: `RUN` for all arms of a run folder, or `RUN:ARM`; at least two arms in total.
        against: label of the reference arm. None: the reference of the first run if it is among the arms, else the
            first arm.
        resamples: number of bootstrap resamples.
        seed: of the resamples.

    Raises:
        RunError: an arm is missing or named twice; the runs have no target in common; they differ in classes, split,
            cluster, pooling or the substitute for missed faces; a common condition has different samples, truths or
            degradations; or the runs have no common condition.
    """
    chosen = [pair for name in names for pair in parse_arms(name)]
    if len(chosen) < 2:
        raise RunError("a comparison needs two arms", ", ".join(names), "give another run, or a run of several arms")
    if len(set(chosen)) < len(chosen):
        raise RunError("an arm is given twice", ", ".join(names), "give each arm once")
    runs = _runs(chosen)
    targets = _common_targets(runs)
    for target in targets:
        for run in runs[1:]:
            _require_comparable(run.of_target(target), runs[0].of_target(target))
    labels = [label for run in runs for label in run.labels.values()]
    first = runs[0].labels.get(runs[0].summary.reference, labels[0])
    reference = against or first
    if reference not in labels:
        raise RunError(f"there is no arm {reference!r}", "--against", f"known: {', '.join(labels)}")
    table = _joined_tables(runs, targets)
    groups = {s["condition"]: s.get("group", {}) for run in runs for s in run.info.get("sweeps", [])}
    options = {}
    for target in targets:
        classes = class_names(runs[0].of_target(target).table)
        options[target] = SummaryOptions(groups=groups, mce=reference if classes else None)
    return summarise_targets(
        table,
        {target: _metrics(runs[0].of_target(target)) for target in targets},
        reference=reference,
        seed=seed,
        resamples=resamples,
        pool=runs[0].summary.pool,
        cluster=runs[0].info.get("cluster"),
        options=options,
    )


def _common_targets(runs: Sequence[_EvaluatedRun]) -> list[str]:
    """Returns the targets of the first run that all others have.

    Raises:
        RunError: there is none.
    """
    first = runs[0].targets
    for run in runs[1:]:
        if not set(first) & set(run.targets):
            what = f"its target is {_quoted(run.targets)}, that of {runs[0].root.name} is {_quoted(first)}"
            raise RunError(what, str(run.root), "compare runs with the same evaluation settings")
    return [target for target in first if all(target in run.targets for run in runs)]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def _runs(chosen: Sequence[tuple[Path, str]]) -> list[_EvaluatedRun]:
    arms = [arm for _, arm in chosen]
    labels = {(root, arm): arm if arms.count(arm) == 1 else f"{root.name}/{arm}" for root, arm in chosen}
    if len(set(labels.values())) < len(labels):
        raise RunError(
            "two runs have the same name and arm", ", ".join(labels.values()), "rename one of the run folders"
        )
    out = []
    for root in dict.fromkeys(root for root, _ in chosen):
        summary = read_summary(root / "summary.json")
        own = {arm: labels[root, arm] for other, arm in chosen if other == root}
        table = read_predictions(root / "predictions.parquet")
        table = table.filter(pc.is_in(table["arm"], pa.array(list(own))))
        names = pa.array([own[arm] for arm in table["arm"].to_pylist()], pa.string())
        table = table.set_column(SCHEMA.get_field_index("arm"), "arm", names)
        out.append(_EvaluatedRun(root, summary, RunFolder(root).info, table, own))
    return out


def _require_comparable(run: _EvaluatedRun, first: _EvaluatedRun) -> None:
    where = str(run.root)
    for what, ours, theirs in (
        ("split", run.info.get("split"), first.info.get("split")),
        ("cluster", run.info.get("cluster"), first.info.get("cluster")),
        ("suite", run.info.get("suite"), first.info.get("suite")),  # of report cards
        ("pooling", str(run.summary.pool), str(first.summary.pool)),
        ("classes", class_names(run.table), class_names(first.table)),
        ("without_face", _substitute(run, first), _substitute(first, run)),
    ):
        if ours != theirs:
            do = "compare runs with the same evaluation settings"
            raise RunError(f"its {what} is {ours!r}, that of {first.root.name} is {theirs!r}", where, do)
    ours, theirs = _truths(run.table), _truths(first.table)
    shared = ours.keys() & theirs.keys()
    if not shared:
        raise RunError(f"no condition in common with {first.root.name}", where, "evaluate both runs on the same sweeps")
    _require_same_sweeps(run, first)
    for condition, severity in sorted(shared):
        a, b = ours[condition, severity], theirs[condition, severity]
        if a.keys() != b.keys():
            odd = ", ".join(sorted(a.keys() ^ b.keys())[:3])
            what = f"{condition} {severity:g} has other samples than in {first.root.name}: {odd}, ..."
            raise RunError(what, where, "evaluate both runs on the same data")
        if wrong := next((key for key in a if a[key] != b[key]), None):
            what = f"sample {wrong} has another truth than in {first.root.name}"
            raise RunError(what, where, "evaluate both runs on the same data")


def _substitute(run: _EvaluatedRun, other: _EvaluatedRun) -> str | None:
    """Returns what replaces the predictions of missed faces; None where neither run has missed faces."""
    estimates = [*run.summary.estimates, *other.summary.estimates]
    return run.summary.without_face if any(estimate.missed for estimate in estimates) else None


def _require_same_sweeps(run: _EvaluatedRun, first: _EvaluatedRun) -> None:
    """Checks that a common condition is the same degradation, swept over the same parameter."""
    known = {sweep["condition"]: sweep for sweep in first.info.get("sweeps", [])}
    for sweep in run.info.get("sweeps", []):
        other = known.get(sweep["condition"], sweep)
        for key in ("use", "parameter"):
            ours, theirs = sweep.get(key), other.get(key)
            if ours and theirs and ours != theirs:
                what = f"{sweep['condition']!r} sweeps {ours} here, {theirs} in {first.root.name}"
                raise RunError(what, str(run.root), "give the sweeps different labels")


def _joined_tables(runs: Sequence[_EvaluatedRun], targets: Sequence[str]) -> pa.Table:
    """Concatenates the predictions, with the class priors of all runs.

    Stages of equal names with different priors have the name of their run folder in front.
    """
    priors: dict[str, dict[str, list[float]]] = {}
    tables = []
    for run in runs:
        own = {target: class_priors(run.of_target(target).table) for target in targets}
        clash = {
            stage for target in targets for stage, p in own[target].items() if priors.get(target, {}).get(stage, p) != p
        }
        for target in targets:
            named = {f"{run.root.name}/{stage}" if stage in clash else stage: p for stage, p in own[target].items()}
            priors.setdefault(target, {}).update(named)
        names = [f"{run.root.name}/{stage}" if stage in clash else stage for stage in run.table["stage"].to_pylist()]
        column = pa.array(names, pa.string())
        tables.append(run.table.set_column(SCHEMA.get_field_index("stage"), "stage", column) if clash else run.table)
    table = pa.concat_tables(tables)
    metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key != PRIORS_KEY}
    known = {target: of_target for target, of_target in priors.items() if of_target}
    return table.replace_schema_metadata(metadata | ({PRIORS_KEY: json.dumps(known)} if known else {}))


def _truths(table: pa.Table) -> dict[tuple[str, float], dict[str, Any]]:
    """Returns (condition, severity) -> sample -> truth; of a distribution the shares."""
    truth = TRUTH_SHARES if is_distribution(table) else "truth"
    columns = (table[name].to_pylist() for name in ("condition", "severity", "sample", truth))
    found: dict[tuple[str, float], dict[str, Any]] = {}
    for condition, severity, sample, truth in zip(*columns, strict=True):
        found.setdefault((condition, severity), {})[sample] = truth
    return found


def _metrics(run: _EvaluatedRun) -> list[Metric]:
    """Returns the metrics of the run that `blear.metrics` has, the headline first; without one, all of its kind."""
    if is_distribution(run.table):
        known: Sequence[Metric] = DISTRIBUTION
    else:
        known = CLASSIFICATION if class_names(run.table) else REGRESSION
    by_name = {metric.name: metric for metric in known}
    return [by_name[info.name] for info in run.summary.metrics if info.name in by_name] or list(known)
