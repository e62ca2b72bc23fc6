"""The outcome of an evaluation in words, by a fixed rule, so that no level is picked because it looks good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blear.evaluate.markdown import format_number
from blear.evaluate.summary import Estimate
from blear.report.levels import middle
from blear.report.view import View

_Level = tuple[str, float]


def outcome(view: View) -> list[str]:
    """One to three sentences.

    The best arm is the one whose mean headline metric over all swept levels is best, upper bounds (tested on clean
    frames) left out. It is compared with the reference arm at the middle one of the degraded levels of the first sweep
    (its first level is the mildest), and at all levels by counting.
    """
    sweep, reference = view.main, view.summary.reference
    there = middle(sweep)
    base = view.estimate(reference, sweep.condition, there)
    levels = [(one.condition, level) for one in view.sweeps for level in one.levels]
    best = _best(view, [a.label for a in view.arms if a.label != reference and not a.bound], levels)
    if best is None or base is None:
        return _alone(view, there)
    named = sweep.parameter if len(view.sweeps) == 1 else f"{sweep.condition} {sweep.parameter}"
    reached = view.estimate(best, sweep.condition, there)
    if reached is None:
        return [f"{best} was not tested at {named} {there:g}; see the table."]
    label = view.headline.label
    sentences = [
        f"At {named} {there:g}, {best} reaches {label} {_span(reached)}, where {reference} reaches {_span(base)}."
    ]
    sentences.append(_counted(view, best, levels))
    if len(sweep.levels) > 1:
        mildest = [view.estimate(arm, sweep.condition, sweep.levels[0]) for arm in (best, reference)]
        if mildest[0] is not None and mildest[1] is not None:
            sentences.append(f"At {named} {sweep.levels[0]:g}: {_span(mildest[0])} against {_span(mildest[1])}.")
    return sentences


def _alone(view: View, there: float) -> list[str]:
    """The sentence where there is one arm, or the reference was not tested."""
    sweep, arm = view.main, view.arms[0].label
    found = [(level, e) for level in (sweep.levels[0], there) if (e := view.estimate(arm, sweep.condition, level))]
    values = ", ".join(f"{_span(e)} at {sweep.parameter} {level:g}" for level, e in dict(found).items())
    return [f"{arm} reaches {view.headline.label} {values}."] if found else ["See the table."]


def _best(view: View, arms: Sequence[str], levels: Sequence[_Level]) -> str | None:
    """The arm with the best mean over the sweeps, among those tested and defined at every level (else among all)."""
    values = {}
    for arm in arms:
        found = [view.estimate(arm, *level) for level in levels]
        defined = [e.value for e in found if e is not None and e.value is not None]
        if defined:
            sign = 1 if view.headline.higher_is_better else -1
            values[arm] = (len(defined) == len(levels), float(np.mean(defined)) * sign)
    return max(values, key=lambda arm: values[arm]) if values else None


def _counted(view: View, arm: str, levels: Sequence[_Level]) -> str:
    """At how many levels the paired difference is certain, and in which direction."""
    found = [d for level in levels if (d := view.difference(arm, *level))]
    certain = [d for d in found if d.excludes_zero and d.value is not None]
    if not found:
        return "The runs were not tested together, so there is no paired difference."
    if all(d.excludes_zero is None for d in found):
        return "There are too few recordings for an interval."
    sign = 1 if view.headline.higher_is_better else -1
    better = sum(sign * (d.value or 0) > 0 for d in certain)
    worse, open_ = len(certain) - better, len(found) - len(certain)
    of = f"{len(found)} levels" if len(view.sweeps) == 1 else f"{len(found)} levels of {len(view.sweeps)} conditions"
    return (
        f"Of {of} it is better at {better}, worse at {worse}, and undecided at {open_}, where the 95 % "
        "interval of the paired difference includes zero."
    )


def _span(e: Estimate) -> str:
    return format_number(e.value) + ("" if e.low is None else f" [{format_number(e.low)}, {format_number(e.high)}]")
