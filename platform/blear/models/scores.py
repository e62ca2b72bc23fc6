"""Scores of a model under conditions: accuracy, recall of each class, calibration, flip rate; with intervals.

One bootstrap over the samples (2,000 resamples, percentiles) gives all intervals. A mean over conditions is the mean of
their accuracies, of which each resample has its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from blear.evaluate.statistics.calibration import calibration_scores
from blear.job.schema import CLEAN, Evaluate
from blear.models.conditions import MEAN, LevelResult

FAMILY = "family"
"""Key of a sweep's `group`: the conditions of a mean with the same value are also reported as their mean."""
FLIPS = "flips"
"""Key of a sweep's `group`; value `severity`: the decisions at neighbouring severities are compared."""
_RESAMPLES, _BLOCK = 2000, 100


@dataclass(frozen=True)
class Score:
    """A score under one condition, or its mean over several ones, with a 95 % interval.

    Attributes:
        condition: label of the condition, "clean", the name of the mean, or "MEAN: FAMILY".
        severity: value of the swept parameter; None for clean frames and for means over several severities.
        metric: `accuracy`, `recall`, `decided` (share of the decisions), `ece` or `flip_rate`.
        low: lower end of the interval; None for `ece`, whose bootstrap is biased.
        n: number of samples.
        of: class of `recall` and `decided`.
    """

    condition: str
    severity: float | None
    value: float
    low: float | None
    high: float | None
    n: int
    metric: str = "accuracy"
    of: str | None = None

    def as_row(self) -> dict[str, Any]:
        """The row of `ModelCard.metrics`."""
        names = {"condition": self.condition, "severity": self.severity, "metric": self.metric}
        return (
            names
            | ({} if self.of is None else {"class": self.of})
            | {
                "value": self.value,
                "low": self.low,
                "high": self.high,
                "n": self.n,
            }
        )


def from_row(row: dict[str, Any]) -> Score:
    """The score of a row of `ModelCard.metrics`."""
    fields = {"of" if key == "class" else key: value for key, value in row.items()}
    return Score(**fields)


@dataclass(frozen=True)
class _Group:
    """Columns of a table of values whose mean is one score."""

    condition: str
    severity: float | None
    columns: list[int]


def all_scores(
    results: Sequence[LevelResult], truth_N: np.ndarray, evaluate: Evaluate, classes: Sequence[str]
) -> list[Score]:
    """Computes every score of the results of `check_conditions`.

    Returns:
        Accuracy of each condition, then of the means; recall of each class, clean, under conditions without a mean, and
        mean; share of the decisions for each class of clean frames; calibration error; flip rates.
    """
    table = _Table(results, len(truth_N))
    groups = _level_groups(results) + _mean_groups(results, evaluate)
    scores = table.scores(groups, table.decided_LN == truth_N, table.tested_LN, "accuracy")
    averaged = {label for label, sweep in evaluate.sweeps.items() if MEAN in sweep.group}
    means = {str(sweep.group[MEAN]) for sweep in evaluate.sweeps.values() if MEAN in sweep.group}
    hidden = averaged | part_names(evaluate)  # of a mean, only the mean itself
    shown = [g for g in groups if g.condition not in hidden and not (g.condition in means and g.severity is not None)]
    clean = [g for g in groups if g.condition == CLEAN]
    for number, name in enumerate(classes):
        own_LN = table.tested_LN & (truth_N == number)
        scores += table.scores(shown, table.decided_LN == number, own_LN, "recall", name)
        scores += table.scores(clean, table.decided_LN == number, table.tested_LN, "decided", name)
    for result in results:
        ece = calibration_scores(_normalised(result.probabilities_NK), truth_N[result.numbers_N]).ece
        severity = None if result.level.use is None else result.level.severity
        scores.append(Score(result.level.condition, severity, ece, None, None, len(result.numbers_N), "ece"))
    return scores + list(_flips(table, results, evaluate))


def part_names(evaluate: Evaluate) -> set[str]:
    """Names of the families of the means, as `Score.condition`."""
    groups = [sweep.group for sweep in evaluate.sweeps.values()]
    return {f"{group[MEAN]}: {group[FAMILY]}" for group in groups if MEAN in group and FAMILY in group}


class _Table:
    """Decisions of L levels for N samples.

    Attributes:
        decided_LN: class index, -1 where a sample was not tested.
        tested_LN: whether the sample was tested.
    """

    def __init__(self, results: Sequence[LevelResult], count: int) -> None:
        self.decided_LN = np.full((len(results), count), -1, dtype=np.int64)
        for row_N, result in zip(self.decided_LN, results, strict=True):
            row_N[result.numbers_N] = result.probabilities_NK.argmax(axis=1)
        self.tested_LN = self.decided_LN >= 0
        generator = np.random.default_rng(0)
        self._counts_RN = np.stack(
            [np.bincount(generator.integers(0, count, count), minlength=count) for _ in range(_RESAMPLES)]
        ).astype(np.uint8)

    def scores(
        self, groups: Sequence[_Group], value_LN: np.ndarray, used_LN: np.ndarray, metric: str, of: str | None = None
    ) -> list[Score]:
        """The mean of `value_LN` over the samples `used_LN`, then over the columns of each group."""
        if not groups:
            return []
        hit_LN, used_LN = (value_LN & used_LN).astype(np.float32), used_LN.astype(np.float32)
        with np.errstate(invalid="ignore"):  # a resample without a sample of the class counts for no interval
            mean_L = hit_LN.sum(axis=1) / used_LN.sum(axis=1)
            blocks = np.split(self._counts_RN, range(_BLOCK, _RESAMPLES, _BLOCK))
            draws_RL = np.concatenate(
                [(b @ hit_LN.T) / (b @ used_LN.T) for b in (b.astype(np.float32) for b in blocks)]
            )
        out = []
        for group in groups:
            low, high = np.nanquantile(draws_RL[:, group.columns].mean(axis=1), (0.025, 0.975))
            n, value = int(used_LN[group.columns].any(axis=0).sum()), float(mean_L[group.columns].mean())
            out.append(Score(group.condition, group.severity, value, float(low), float(high), n, metric, of))
        return out


def _level_groups(results: Sequence[LevelResult]) -> list[_Group]:
    return [
        _Group(result.level.condition, None if result.level.use is None else result.level.severity, [column])
        for column, result in enumerate(results)
    ]


def _mean_groups(results: Sequence[LevelResult], evaluate: Evaluate) -> list[_Group]:
    """Each mean, then its families, then its severities."""
    means: dict[tuple[str, float | None], list[int]] = {}
    families: dict[tuple[str, float | None], list[int]] = {}
    severities: dict[tuple[str, float | None], list[int]] = {}
    for column, result in enumerate(results):
        group = {} if result.level.use is None else evaluate.sweeps[result.level.condition].group
        if MEAN in group:
            name = str(group[MEAN])
            means.setdefault((name, None), []).append(column)
            severities.setdefault((name, result.level.severity), []).append(column)
            if FAMILY in group:
                families.setdefault((f"{name}: {group[FAMILY]}", None), []).append(column)
    found = [*means.items(), *families.items(), *severities.items()]
    return [_Group(name, severity, columns) for (name, severity), columns in found]


def _flips(table: _Table, results: Sequence[LevelResult], evaluate: Evaluate) -> Iterator[Score]:
    """The share of samples whose class changes from a severity to the next one of the same condition, clean first."""
    clean = [column for column, result in enumerate(results) if result.level.use is None]
    pairs: list[tuple[int, int]] = []
    conditions: dict[str, list[int]] = {}
    means: dict[str, list[int]] = {}
    for label, sweep in evaluate.sweeps.items():
        if sweep.group.get(FLIPS) != "severity":
            continue
        own = [column for column, result in enumerate(results) if result.level.condition == label]
        for pair in pairwise([*clean, *own]):
            conditions.setdefault(label, []).append(len(pairs))
            if MEAN in sweep.group:
                means.setdefault(str(sweep.group[MEAN]), []).append(len(pairs))
            pairs.append(pair)
    if not pairs:
        return
    first, second = (list(side) for side in zip(*pairs, strict=True))
    groups = [_Group(name, None, columns) for name, columns in (conditions | means).items()]
    changed_PN = table.decided_LN[first] != table.decided_LN[second]
    yield from table.scores(groups, changed_PN, table.tested_LN[first] & table.tested_LN[second], "flip_rate")


def _normalised(probabilities_NK: np.ndarray) -> np.ndarray:
    p_NK = probabilities_NK.astype(np.float64)
    return p_NK / p_NK.sum(axis=1, keepdims=True)
