"""The outcome of an evaluation in words, by a fixed rule, so that no level is picked because it looks good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blear.evaluate.summarise import number
from blear.evaluate.summary import Estimate, Summary
from blear.report.files import RunInfo


def outcome(summary: Summary, info: RunInfo) -> list[str]:
    """One to three sentences.

    The best arm is the one whose mean headline metric over the whole sweep is best, upper bounds (tested on
    clean frames) left out. It is compared with the reference
    arm at the middle one of the degraded levels (the first level is the mildest), and at all levels by counting.
    """
    condition, levels, parameter = info.sweep.condition, info.sweep.levels, info.sweep.parameter
    degraded = levels[1:] or levels
    middle = degraded[(len(degraded) - 1) // 2]
    base = summary.estimate(summary.reference, condition, middle)
    others = [arm for arm in summary.arms if arm != summary.reference and arm not in info.clean_arms]
    best = _best(summary, others, condition, levels, info.headline.higher_is_better)
    if best is None or base is None:
        return _alone(summary, info, middle)
    there = summary.estimate(best, condition, middle)
    label, at = info.headline.label, f"At {parameter} {middle:g}"
    if there is None:
        return [f"{best} was not tested at {parameter} {middle:g}; see the table."]
    sentences = [f"{at}, {best} reaches {label} {_span(there)}, where {summary.reference} reaches {_span(base)}."]
    sentences.append(_counted(summary, best, condition, levels, info.headline.higher_is_better))
    if len(levels) > 1:
        mildest = (
            summary.estimate(best, condition, levels[0]),
            summary.estimate(summary.reference, condition, levels[0]),
        )
        if mildest[0] is not None and mildest[1] is not None:
            sentences.append(f"At {parameter} {levels[0]:g}: {_span(mildest[0])} against {_span(mildest[1])}.")
    return sentences


def _alone(summary: Summary, info: RunInfo, middle: float) -> list[str]:
    """The sentence where there is one arm, or the reference was not tested."""
    condition, levels, parameter = info.sweep.condition, info.sweep.levels, info.sweep.parameter
    found = [(level, e) for level in (levels[0], middle) if (e := summary.estimate(summary.arms[0], condition, level))]
    values = ", ".join(f"{_span(e)} at {parameter} {level:g}" for level, e in dict(found).items())
    return [f"{summary.arms[0]} reaches {info.headline.label} {values}."] if found else ["See the table."]


def _best(
    summary: Summary, arms: Sequence[str], condition: str, levels: Sequence[float], higher_is_better: bool
) -> str | None:
    """The arm with the best mean over the sweep, among those tested and defined at every level (else among all)."""
    values = {}
    for arm in arms:
        found = [summary.estimate(arm, condition, level) for level in levels]
        defined = [e.value for e in found if e is not None and e.value is not None]
        if defined:
            values[arm] = (len(defined) == len(levels), float(np.mean(defined)) * (1 if higher_is_better else -1))
    return max(values, key=lambda arm: values[arm]) if values else None


def _counted(summary: Summary, arm: str, condition: str, levels: Sequence[float], higher_is_better: bool) -> str:
    """At how many levels the paired difference is certain, and in which direction."""
    found = [d for level in levels if (d := summary.difference(arm, condition, level))]
    certain = [d for d in found if d.excludes_zero and d.value is not None]
    if not found or all(d.excludes_zero is None for d in found):
        return "There are too few recordings for an interval."
    better = sum((d.value or 0) > 0 for d in certain) if higher_is_better else sum((d.value or 0) < 0 for d in certain)
    worse, open_ = len(certain) - better, len(found) - len(certain)
    return (
        f"Of {len(found)} levels it is better at {better}, worse at {worse}, and undecided at {open_}, where the 95 % "
        "interval of the paired difference includes zero."
    )


def _span(e: Estimate) -> str:
    return number(e.value) + ("" if e.low is None else f" [{number(e.low)}, {number(e.high)}]")
