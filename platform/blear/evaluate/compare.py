"""Several runs as one evaluation: their arms on the same samples, with paired tests between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from blear.contracts import Metric
from blear.errors import RunError
from blear.evaluate.ensemble.members import arms_of
from blear.evaluate.predictions import SCHEMA, class_names, read_predictions
from blear.evaluate.summarise import Asked, summarise
from blear.evaluate.summary import Summary, read_summary
from blear.metrics import CLASSIFICATION, REGRESSION
from blear.storage.run_folder import RunFolder

STANDARD: Mapping[str, Metric] = {metric.name: metric for metric in (*CLASSIFICATION, *REGRESSION)}
"""The metrics that runs can be compared by: those of `blear.metrics`."""


@dataclass(frozen=True)
class _Run:
    """An evaluated run: its summary, what run.json says, and the rows of the chosen arms."""

    root: Path
    summary: Summary
    info: dict[str, Any]
    table: pa.Table
    labels: dict[str, str]


def compare(names: Sequence[str], *, against: str | None = None, resamples: int = 1000, seed: int = 0) -> Summary:
    """One summary of the arms of several runs; an arm's label is its own, with the run's name where two are alike.

    Args:
        names: `RUN`, all arms of a run folder, or `RUN:ARM`; at least two arms in all.
        against: label of the arm that the others are compared with; the first run's own reference, if it is given.

    Raises:
        RunError: an arm is missing or named twice; the runs differ in target, classes, split, pooling, or in the
            samples or truths of a condition that both have; no condition is shared; no metric is a standard one.
    """
    chosen = [pair for name in names for pair in arms_of(name)]
    if len(chosen) < 2:
        raise RunError("a comparison needs two arms", ", ".join(names), "give another run, or a run of several arms")
    if len(set(chosen)) < len(chosen):
        raise RunError("an arm is named twice", ", ".join(names), "give each arm once")
    runs = _runs(chosen)
    for run in runs[1:]:
        _require_alike(run, runs[0])
    labels = [label for run in runs for label in run.labels.values()]
    first = runs[0].labels.get(runs[0].summary.reference, labels[0])
    reference = against or first
    if reference not in labels:
        raise RunError(f"there is no arm {reference!r}", "--against", f"known: {', '.join(labels)}")
    table = pa.concat_tables([run.table for run in runs])
    groups = {s["condition"]: s.get("group", {}) for run in runs for s in run.info.get("sweeps", [])}
    return summarise(
        table,
        _metrics(runs[0]),
        reference=reference,
        seed=seed,
        resamples=resamples,
        target=runs[0].summary.target,
        pool=runs[0].summary.pool,
        asked=Asked(groups=groups, mce=reference if class_names(table) else None),
    )


def _runs(chosen: Sequence[tuple[Path, str]]) -> list[_Run]:
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
        kept = pc.and_(pc.is_in(table["arm"], pa.array(list(own))), pc.equal(table["target"], summary.target))
        table = table.filter(kept)
        names = pa.array([own[arm] for arm in table["arm"].to_pylist()], pa.string())
        table = table.set_column(SCHEMA.get_field_index("arm"), "arm", names)
        out.append(_Run(root, summary, RunFolder(root).info, table, own))
    return out


def _require_alike(run: _Run, first: _Run) -> None:
    where = str(run.root)
    for what, ours, theirs in (
        ("target", run.summary.target, first.summary.target),
        ("split", run.info.get("split"), first.info.get("split")),
        ("pooling", str(run.summary.pool), str(first.summary.pool)),
        ("classes", class_names(run.table), class_names(first.table)),
    ):
        if ours != theirs:
            do = "compare runs that were evaluated alike"
            raise RunError(f"its {what} is {ours!r}, that of {first.root.name} is {theirs!r}", where, do)
    ours, theirs = _truths(run.table), _truths(first.table)
    shared = ours.keys() & theirs.keys()
    if not shared:
        raise RunError(f"no condition is also one of {first.root.name}", where, "evaluate both on the same sweeps")
    for condition, severity in sorted(shared):
        a, b = ours[condition, severity], theirs[condition, severity]
        if a.keys() != b.keys():
            odd = ", ".join(sorted(a.keys() ^ b.keys())[:3])
            what = f"{condition} {severity:g} was tested on other samples than in {first.root.name}: {odd}, ..."
            raise RunError(what, where, "evaluate both on the same data")
        if wrong := next((key for key in a if a[key] != b[key]), None):
            what = f"sample {wrong} has another truth than in {first.root.name}"
            raise RunError(what, where, "evaluate both on the same data")


def _truths(table: pa.Table) -> dict[tuple[str, float], dict[str, float]]:
    """(condition, severity) -> sample -> truth."""
    columns = (table[name].to_pylist() for name in ("condition", "severity", "sample", "truth"))
    found: dict[tuple[str, float], dict[str, float]] = {}
    for condition, severity, sample, truth in zip(*columns, strict=True):
        found.setdefault((condition, severity), {})[sample] = truth
    return found


def _metrics(run: _Run) -> list[Metric]:
    """The standard metrics among the run's own, the headline first; else those of its kind of target."""
    known = CLASSIFICATION if class_names(run.table) else REGRESSION
    own = [STANDARD[info.name] for info in run.summary.metrics if info.name in STANDARD]
    return own or list(known)
