"""Objectives of a search: one number from a robustness curve; higher is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.contracts import Metric
from blear.errors import JobError
from blear.evaluate.pool import pool_predictions
from blear.evaluate.predictions import TRUTH_SHARES, is_distribution
from blear.evaluate.statistics.robustness_scores import log_area
from blear.job.schema import CLEAN, Objective, Pool

Curve = dict[tuple[str, float], float]
"""Robustness curve: (condition, severity) -> metric."""


@dataclass(frozen=True)
class TargetMetric:
    """A metric of one target of the searched stage: names and direction, which a trial can be sent."""

    target: str
    name: str
    label: str
    higher_is_better: bool


def curve_of(tables: Iterable[pa.Table], target: str, metric: Metric, pool: Pool | None = None) -> Curve:
    """A metric of a target at each condition and severity, over the decisions with a detected face.

    Args:
        tables: parts of a predictions table.
        pool: how rows become decisions, as in the evaluation; None: each row is one decision.
    """
    table = pa.concat_tables(tables).filter(pc.field("target") == target)
    return _curve(table if pool is None else pool_predictions(table, pool.by, pool.score), metric)


def _curve(table: pa.Table, metric: Metric) -> Curve:
    keys = list(zip(table["condition"].to_pylist(), table["severity"].to_pylist(), strict=True))
    found = table["found"].to_numpy(zero_copy_only=False)
    truth, prediction = table["truth"].to_numpy(), table["prediction"].to_numpy()
    if is_distribution(table):
        truth, prediction = (np.array(table[name].to_pylist()) for name in (TRUTH_SHARES, "probabilities"))
    curve: Curve = {}
    for key in dict.fromkeys(keys):
        rows = np.fromiter((other == key for other in keys), bool, len(keys)) & found
        curve[key] = float(metric.compute(truth[rows], prediction[rows]))
    return curve


@dataclass(frozen=True)
class ObjectiveEvaluator:
    """Computes the objectives of a search from the curves of their metrics.

    Attributes:
        objectives: the job's objectives.
        metrics: the metric of each objective. A metric whose lower values are better is negated.
    """

    objectives: tuple[Objective, ...]
    metrics: tuple[TargetMetric, ...]

    @property
    def names(self) -> list[str]:
        """Names of the objectives in order, with their `metric` if they have one; equal names are numbered."""
        uses = [each.use if each.metric is None else f"{each.use} {each.metric}" for each in self.objectives]
        return [use if uses.count(use) == 1 else f"{use}_{number}" for number, use in enumerate(uses, 1)]

    def __call__(self, curves: Sequence[Mapping[tuple[str, float], float]]) -> dict[str, float]:
        """The objectives of the curves of `metrics`.

        Returns:
            Name -> value, higher is better; NaN where the metric is undefined at a severity that enters the objective.

        Raises:
            JobError: `weights` names a severity that the evaluation does not have, or an area has too few severities.
        """
        values = []
        for objective, one, curve in zip(self.objectives, self.metrics, curves, strict=True):
            sign = 1.0 if one.higher_is_better else -1.0
            values.append(_value(objective, {key: sign * value for key, value in curve.items()}))
        return dict(zip(self.names, values, strict=True))


def _value(objective: Objective, curve: Mapping[tuple[str, float], float]) -> float:
    swept = {key: value for key, value in curve.items() if key[0] != CLEAN}
    if objective.use == "mean":
        return float(np.mean(list(swept.values())))
    if objective.use == "worst":
        return float(np.min(list(swept.values())))
    conditions = list(dict.fromkeys(condition for condition, _ in swept))
    if objective.use == "area":
        return float(np.mean([_log_area({s: v for (c, s), v in swept.items() if c == one}) for one in conditions]))
    unknown = set(objective.weights) - {severity for _, severity in swept}
    if unknown:
        known = ", ".join(f"{severity:g}" for severity in sorted({s for _, s in swept}))
        what = f"the sweep has no severity {sorted(unknown)[0]:g}"
        raise JobError(what, "search.objective.weights", f"severities: {known}")
    total = sum(objective.weights.values())
    each = [sum(w * swept[c, s] for s, w in objective.weights.items()) / total for c in conditions]
    return float(np.mean(each))


def _log_area(points: Mapping[float, float]) -> float:
    severities = np.array(sorted(points))
    if len(severities) < 2 or severities[0] <= 0:
        do = "use `mean`, or sweep more severities"
        raise JobError("an area needs two severities above 0", "search.objective", do)
    return float(log_area(severities, *(np.array(points[severity]) for severity in severities)))
