"""From the predictions table to the summary: values, intervals, paired differences; and the summary as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.contracts import Metric
from blear.errors import RunError
from blear.evaluate.bootstrap import MIN_CLUSTERS, distributions, draw, evaluate, interval
from blear.evaluate.pool import pooled
from blear.evaluate.predictions import class_names
from blear.evaluate.summary import Difference, Estimate, MetricInfo, Summary
from blear.job import Pool

_Key = tuple[str, str, float]
"""(arm, condition, severity)."""


@dataclass(frozen=True)
class _Group:
    """The decisions of one arm at one condition, those with a found face, in a fixed order of samples.

    Attributes:
        missed_M: true classes of those without one; values, which no wrong answer can stand for, have none here.
    """

    stages: list[str]
    truth_N: np.ndarray
    prediction_N: np.ndarray
    clusters_N: np.ndarray
    missed: int
    missed_M: np.ndarray
    classes: int
    face_px: float | None
    kbps: float | None


def summarise(
    predictions: pa.Table,
    metrics: Sequence[Metric],
    *,
    reference: str,
    seed: int,
    resamples: int = 1000,
    target: str | None = None,
    pool: Pool | None = None,
) -> Summary:
    """Every metric of every arm at every condition, with 95 % intervals of a cluster bootstrap.

    Clusters are videos where every row names one, else subjects, else samples. All arms share the resamples, so the
    differences from the reference arm are paired. Decisions without a found face are counted as missed, and left out;
    `with_missed` counts them as wrong: with the class after the true one, the first after the last.

    Args:
        predictions: as `read_predictions` gives it.
        metrics: the headline first.
        reference: label of the arm that the others are compared with.
        target: the labelled quantity; left out, that of the first row.
        pool: what one decision is made of (`pool.pooled`); left out, each row is one.

    Raises:
        RunError: no rows, an unknown reference arm, a truth or a prediction that is not finite; rows cannot be pooled.
        ValueError: no metrics.
    """
    if not metrics:
        raise ValueError("no metric to summarise with")
    if target is None and predictions.num_rows:
        target = predictions["target"][0].as_py()
    table = predictions.filter(pc.field("target") == target)
    if target is None or not table.num_rows:
        raise RunError(f"no predictions of {target or 'any target'}", "predictions.parquet", "evaluate a filled split")
    if pool is not None:
        table = pooled(table, pool.by, pool.score)
    kind = _cluster_kind(table)
    count = pc.count_distinct(table[kind]).as_py()
    groups = dict(_groups(table, kind))
    arms = list(dict.fromkeys(arm for arm, _, _ in groups))
    if reference not in arms:
        raise RunError(f"no predictions of the reference arm {reference!r}", "predictions.parquet", f"known: {arms}")
    draws_RK = draw(count, resamples, seed) if count >= MIN_CLUSTERS else np.empty((0, count), dtype=np.int64)
    spread = _distributions(groups, metrics, draws_RK)
    estimates = [
        _estimate(key, g, m, spread[key][:, i], kind) for key, g in groups.items() for i, m in enumerate(metrics)
    ]
    return Summary(
        target=target,
        metrics=[MetricInfo(name=m.name, label=m.label, higher_is_better=m.higher_is_better) for m in metrics],
        arms=arms,
        reference=reference,
        cluster=kind,
        clusters=count,
        pool=pool,
        resamples=resamples,
        seed=seed,
        estimates=estimates,
        differences=list(_differences(estimates, spread, reference, metrics[0].name)),
    )


def as_markdown(summary: Summary) -> str:
    """The headline metric as a table of arms by severities for each condition, and what the intervals are."""
    label = summary.metrics[0].label
    parts = [_table(summary, f"{label}, {condition}", condition, _cell) for condition in summary.severities()]
    if any(e.with_missed is not None for e in summary.estimates):
        parts += [
            _table(summary, f"{label}, {condition}, missed counted as wrong", condition, _cell_with_missed)
            for condition in summary.severities()
        ]
    parts.append(" ".join(_notes(summary)))
    return "\n\n".join(parts)


def number(value: float | None) -> str:
    """A metric's value as tables show it: three decimals below 10, else four significant digits."""
    if value is None:
        return "undefined"
    return f"{round(value, 3) + 0.0:.3f}" if abs(value) < 10 else f"{value:.4g}"  # + 0.0: never -0.000


def _table(summary: Summary, title: str, condition: str, cell: Callable[[Summary, str, str, float], str]) -> str:
    severities = summary.severities()[condition]
    lines = [f"| {title} | " + " | ".join(f"{s:g}" for s in severities) + " |", "| --- |" + " ---: |" * len(severities)]
    lines += [
        f"| {arm} | " + " | ".join(cell(summary, arm, condition, s) for s in severities) + " |" for arm in summary.arms
    ]
    return "\n".join(lines)


def _cell_with_missed(summary: Summary, arm: str, condition: str, severity: float) -> str:
    e = summary.estimate(arm, condition, severity)
    return "-" if e is None else number(e.value if e.with_missed is None else e.with_missed)


def _cell(summary: Summary, arm: str, condition: str, severity: float) -> str:
    e = summary.estimate(arm, condition, severity)
    if e is None:
        return "-"
    d = summary.difference(arm, condition, severity)
    mark = "\\*" if d is not None and d.excludes_zero else ""
    span = "" if e.low is None else f" [{number(e.low)}, {number(e.high)}]"
    return number(e.value) + mark + span


def _notes(summary: Summary) -> Iterator[str]:
    headline = summary.metrics[0]
    yield f"{headline.label} of {summary.target}, {'higher' if headline.higher_is_better else 'lower'} is better."
    if summary.pool is not None:
        how = summary.pool.score.replace("_", " ")
        yield f"One decision for each {summary.pool.by}: {how} of its rows."
    if summary.clusters < MIN_CLUSTERS:
        yield f"No intervals: only {summary.clusters} {summary.cluster}(s) to resample."
    else:
        yield f"In brackets: 95 % interval, {summary.resamples} resamples of {summary.clusters} {summary.cluster}s."
    if summary.differences and summary.clusters >= MIN_CLUSTERS:
        yield f"\\*: the paired difference from {summary.reference} excludes zero."
    missed = sum(e.missed for e in summary.estimates if e.metric == headline.name)
    if missed:
        rows = sum(e.n + e.missed for e in summary.estimates if e.metric == headline.name)
        yield f"{missed} of {rows} {'rows' if summary.pool is None else 'decisions'} are left out: no face was found."


def _cluster_kind(table: pa.Table) -> Literal["video", "subject", "sample"]:
    for kind in ("video", "subject"):
        if pc.all(pc.fill_null(pc.not_equal(table[kind], ""), False)).as_py():
            return kind
    return "sample"


def _groups(table: pa.Table, kind: str) -> Iterator[tuple[_Key, _Group]]:
    """Groups in order of appearance; samples and clusters are numbered alike in all of them."""
    numbered = {name: table[name].combine_chunks().dictionary_encode() for name in ("arm", "condition", "sample", kind)}
    codes = {name: np.asarray(array.indices) for name, array in numbered.items()}
    names = {name: numbered[name].dictionary.to_pylist() for name in ("arm", "condition")}
    columns = {name: table[name].to_numpy() for name in ("severity", "found", "truth", "prediction", "face_px", "kbps")}
    classes = len(class_names(table))
    severities, severity_codes = np.unique(columns["severity"], return_inverse=True)
    keys = np.stack([codes["arm"], codes["condition"], severity_codes])
    unique, first, inverse = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    members = np.split(np.argsort(inverse.ravel(), kind="stable"), np.cumsum(np.bincount(inverse.ravel()))[:-1])
    for g in np.argsort(first):
        arm, condition, severity = unique[:, g]
        key = (names["arm"][arm], names["condition"][condition], float(severities[severity]))
        rows = members[g][np.argsort(codes["sample"][members[g]], kind="stable")]
        seen = rows[columns["found"][rows].astype(bool)]
        _check(key, "truth", columns["truth"][rows])
        _check(key, "prediction", columns["prediction"][seen])
        yield (
            key,
            _Group(
                stages=pc.unique(table["stage"].take(pa.array(rows))).to_pylist(),
                truth_N=columns["truth"][seen],
                prediction_N=columns["prediction"][seen],
                clusters_N=codes[kind][seen],
                missed=len(rows) - len(seen),
                missed_M=columns["truth"][np.setdiff1d(rows, seen)] if classes else np.empty(0),
                classes=classes,
                face_px=_mean(columns["face_px"][seen]),
                kbps=_mean(columns["kbps"][seen]),
            ),
        )


def _check(key: _Key, column: str, values: np.ndarray) -> None:
    bad = int((~np.isfinite(values.astype(np.float64))).sum())
    if bad:
        raise RunError(
            f"{bad} rows of arm {key[0]!r} ({key[1]} {key[2]:g}) have no finite {column}",
            "predictions.parquet",
            "prepare the data again" if column == "truth" else "this stage diverged: train it with a lower rate",
        )


def _mean(values: np.ndarray) -> float | None:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else None


def _distributions(
    groups: dict[_Key, _Group], metrics: Sequence[Metric], draws_RK: np.ndarray
) -> dict[_Key, np.ndarray]:
    """Bootstrap distribution [R, M] of each group; groups with rows in the same clusters go together."""
    alike: dict[bytes, list[_Key]] = {}
    for key, group in groups.items():
        alike.setdefault(group.clusters_N.tobytes(), []).append(key)
    found: dict[_Key, np.ndarray] = {}
    for keys in alike.values():
        pairs = [(groups[key].truth_N, groups[key].prediction_N) for key in keys]
        out_RGM = distributions(draws_RK, groups[keys[0]].clusters_N, pairs, [m.compute for m in metrics])
        found |= {key: out_RGM[:, g] for g, key in enumerate(keys)}
    return found


def _estimate(key: _Key, group: _Group, metric: Metric, distribution_R: np.ndarray, kind: str) -> Estimate:
    clusters = np.unique(group.clusters_N)
    span = interval(distribution_R) if len(clusters) >= MIN_CLUSTERS else None
    per_video = None
    if kind == "video":
        of = [group.clusters_N == c for c in clusters]
        values = np.array([evaluate(metric.compute, group.truth_N[i], group.prediction_N[i]) for i in of])
        per_video = _mean(values)
    value = evaluate(metric.compute, group.truth_N, group.prediction_N)
    return Estimate(
        arm=key[0],
        stages=group.stages,
        condition=key[1],
        severity=key[2],
        metric=metric.name,
        value=value if np.isfinite(value) else None,
        low=span[0] if span else None,
        high=span[1] if span else None,
        per_video=per_video,
        n=len(group.truth_N),
        missed=group.missed,
        with_missed=_with_missed(group, metric),
        clusters=len(clusters),
        face_px=group.face_px,
        kbps=group.kbps,
    )


def _with_missed(group: _Group, metric: Metric) -> float | None:
    if not len(group.missed_M) or group.classes < 2:
        return None
    wrong_M = (group.missed_M + 1) % group.classes
    truth, prediction = (
        np.concatenate(pair) for pair in ((group.truth_N, group.missed_M), (group.prediction_N, wrong_M))
    )
    value = evaluate(metric.compute, truth, prediction)
    return value if np.isfinite(value) else None


def _differences(
    estimates: Sequence[Estimate], spread: dict[_Key, np.ndarray], reference: str, headline: str
) -> Iterator[Difference]:
    known = {(e.arm, e.condition, e.severity): e for e in estimates if e.metric == headline}
    for (arm, condition, severity), e in known.items():
        base = known.get((reference, condition, severity))
        if arm == reference or base is None:
            continue
        span = None
        if min(e.clusters, base.clusters) >= MIN_CLUSTERS:
            span = interval(spread[arm, condition, severity][:, 0] - spread[reference, condition, severity][:, 0])
        yield Difference(
            arm=arm,
            condition=condition,
            severity=severity,
            value=None if e.value is None or base.value is None else e.value - base.value,
            low=span[0] if span else None,
            high=span[1] if span else None,
            excludes_zero=None if span is None else not span[0] <= 0 <= span[1],
        )
