"""Describes the outcome of an evaluation in sentences, by a fixed rule that does not depend on how the results look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blear.evaluate.markdown import format_number
from blear.evaluate.summary import Estimate
from blear.report.levels import middle_level
from blear.report.view import View

_Level = tuple[str, float]


def outcome(view: View) -> list[str]:
    """Returns one to three sentences.

    The best arm has the best mean of the headline metric over all swept levels; upper bounds, which are evaluated on
    clean frames, are excluded. The best arm is compared with the reference arm at the middle degraded level of the
    first sweep, and by the number of levels at which it is better or worse by the corrected test.
    """
    sweep, reference = view.first_sweep, view.summary.reference
    severity = middle_level(sweep)
    base = view.estimate(reference, sweep.condition, severity)
    levels = [(one.condition, level) for one in view.sweeps for level in one.levels]
    best = _best_arm(view, [a.label for a in view.arms if a.label != reference and not a.is_upper_bound], levels)
    if best is None or base is None:
        return _single_arm_outcome(view, severity)
    named = sweep.parameter if len(view.sweeps) == 1 else f"{sweep.condition} {sweep.parameter}"
    reached = view.estimate(best, sweep.condition, severity)
    if reached is None:
        return [f"{best} was not evaluated at {named} {severity:g}; see the table."]
    label = _label(view)
    sentences = [
        f"At {named} {severity:g}, {best} reaches {label} {_with_interval(reached)}, where {reference} reaches "
        f"{_with_interval(base)}."
    ]
    sentences.append(_count_differences(view, best, levels))
    if len(sweep.levels) > 1:
        mildest = [view.estimate(arm, sweep.condition, sweep.levels[0]) for arm in (best, reference)]
        if mildest[0] is not None and mildest[1] is not None:
            sentences.append(
                f"At {named} {sweep.levels[0]:g}: {_with_interval(mildest[0])} against {_with_interval(mildest[1])}."
            )
    return sentences


def _single_arm_outcome(view: View, severity: float) -> list[str]:
    """Returns the sentence for a single arm, or for a reference that was not evaluated."""
    sweep, arm = view.first_sweep, view.arms[0].label
    found = [(level, e) for level in (sweep.levels[0], severity) if (e := view.estimate(arm, sweep.condition, level))]
    values = ", ".join(f"{_with_interval(e)} at {sweep.parameter} {level:g}" for level, e in dict(found).items())
    return [f"{arm} reaches {_label(view)} {values}."] if found else ["See the table."]


def _label(view: View) -> str:
    """Name of the headline metric, with its target where there are several: "Accuracy of emotion"."""
    summary = view.summary
    return f"{view.headline.label} of {summary.target}" if summary.other_targets else view.headline.label


def _best_arm(view: View, arms: Sequence[str], levels: Sequence[_Level]) -> str | None:
    """Returns the arm with the best mean over the sweeps; arms with a value at every level come first."""
    values = {}
    for arm in arms:
        found = [view.estimate(arm, *level) for level in levels]
        defined = [e.value for e in found if e is not None and e.value is not None]
        if defined:
            sign = 1 if view.headline.higher_is_better else -1
            values[arm] = (len(defined) == len(levels), float(np.mean(defined)) * sign)
    return max(values, key=lambda arm: values[arm]) if values else None


def _count_differences(view: View, arm: str, levels: Sequence[_Level]) -> str:
    """Counts the levels at which the headline test rejects equality after Holm's correction, by direction."""
    found = [test for level in levels if (test := view.headline_test(arm, *level))]
    significant = [test for test in found if test.significant]
    if not found:
        return "The runs have no common samples, so there is no paired difference."
    if all(test.significant is None for test in found):
        return f"There are too few {view.summary.cluster}s for a test."
    sign = 1 if view.headline.higher_is_better else -1
    better = sum(sign * (test.difference or 0) > 0 for test in significant)
    worse, open_ = len(significant) - better, len(found) - len(significant)
    of = f"{len(found)} levels" if len(view.sweeps) == 1 else f"{len(found)} levels of {len(view.sweeps)} conditions"
    method = "bootstrap test over clusters and seeds" if view.summary.seeds else "permutation test"
    return (
        f"Of {of} it is better at {better}, worse at {worse}, and undecided at {open_} ({method} "
        "of the paired difference, p below 5 % after Holm’s correction)."
    )


def _with_interval(e: Estimate) -> str:
    return format_number(e.value) + ("" if e.low is None else f" [{format_number(e.low)}, {format_number(e.high)}]")
