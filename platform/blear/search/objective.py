"""One number from a robustness curve, better the higher."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blear.contracts import Metric
from blear.errors import JobError
from blear.evaluate.statistics.robustness_scores import log_area
from blear.job.schema import CLEAN, Objective

Curve = dict[tuple[str, float], float]
"""(condition, severity) -> the headline metric."""


def curve_of(tables: Iterable[pa.Table], metric: Metric) -> Curve:
    """The metric of all rows with a found face at each condition and severity."""
    table = pa.concat_tables(tables)
    keys = list(zip(table["condition"].to_pylist(), table["severity"].to_pylist(), strict=True))
    truth, prediction = table["truth"].to_numpy(), table["prediction"].to_numpy()
    found = table["found"].to_numpy(zero_copy_only=False)
    curve: Curve = {}
    for key in dict.fromkeys(keys):
        rows = np.fromiter((other == key for other in keys), bool, len(keys)) & found
        curve[key] = float(metric.compute(truth[rows], prediction[rows]))
    return curve


@dataclass(frozen=True)
class Judge:
    """Names and computes the objectives of a search.

    Attributes:
        higher_is_better: the metric's direction; of one that is better low, objectives are its negative.
    """

    objectives: tuple[Objective, ...]
    higher_is_better: bool

    @property
    def names(self) -> list[str]:
        """One name for each objective, in their order."""
        uses = [objective.use for objective in self.objectives]
        return [use if uses.count(use) == 1 else f"{use}_{number}" for number, use in enumerate(uses, 1)]

    def __call__(self, curve: Mapping[tuple[str, float], float]) -> dict[str, float]:
        """Name -> value, the higher the better; NaN where the metric is undefined at a level that counts.

        Raises:
            JobError: weights name a severity that the evaluation does not have.
        """
        sign = 1.0 if self.higher_is_better else -1.0
        signed = {key: sign * value for key, value in curve.items()}
        return dict(zip(self.names, (_value(objective, signed) for objective in self.objectives), strict=True))


def _value(objective: Objective, curve: Mapping[tuple[str, float], float]) -> float:
    swept = {key: value for key, value in curve.items() if key[0] != CLEAN}
    if objective.use == "mean":
        return float(np.mean(list(swept.values())))
    if objective.use == "worst":
        return float(np.min(list(swept.values())))
    conditions = list(dict.fromkeys(condition for condition, _ in swept))
    if objective.use == "area":
        return float(np.mean([_area({s: v for (c, s), v in swept.items() if c == one}) for one in conditions]))
    unknown = set(objective.weights) - {severity for _, severity in swept}
    if unknown:
        known = ", ".join(f"{severity:g}" for severity in sorted({s for _, s in swept}))
        raise JobError(f"no level {sorted(unknown)[0]:g} to weigh", "search.objective.weights", f"levels: {known}")
    total = sum(objective.weights.values())
    each = [sum(w * swept[c, s] for s, w in objective.weights.items()) / total for c in conditions]
    return float(np.mean(each))


def _area(points: Mapping[float, float]) -> float:
    severities = np.array(sorted(points))
    if len(severities) < 2 or severities[0] <= 0:
        raise JobError("an area needs two levels above 0", "search.objective", "take `mean`, or sweep more levels")
    return float(log_area(severities, *(np.array(points[severity]) for severity in severities)))
