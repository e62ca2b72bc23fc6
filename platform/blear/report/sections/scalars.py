"""Robustness scores: the robustness of each arm in single numbers."""

from __future__ import annotations

from dataclasses import dataclass

from blear.evaluate.statistics.results import RobustnessScore
from blear.report.figure import Figure
from blear.report.section import Section
from blear.report.view import View

_NAMES = {
    "mean": ("Mean", "mean over all levels, with equal weights for all conditions"),
    "relative_drop": ("Drop", "mean relative loss from clean frames"),
    "worst": ("Worst", "value at the worst level"),
    "log_area": ("Log area", "mean of the curve over the logarithm of severity"),
    "mce": ("mCE", "mean corruption error, relative to the reference of the job"),
    "relative_mce": ("Relative mCE", "mean corruption error of the errors added to clean ones"),
}


@dataclass(frozen=True)
class Column:
    """One score of all arms. `cells` maps the label of an arm to its score."""

    label: str
    meaning: str
    cells: dict[str, RobustnessScore]


def section(view: View) -> Section | None:
    """Returns None where all conditions are points of rate-accuracy curves."""
    found = view.summary.scalars
    if not found:
        return None
    one = len({s.condition for s in found if s.name == "mean_condition"}) == 1
    overall = {name: [s for s in found if s.name == name and _overall(s, one=one)] for name in _NAMES}
    columns = [Column(*_NAMES[name], {s.arm: s for s in of}) for name, of in overall.items() if of]
    conditions: dict[str, dict[str, RobustnessScore]] = {}
    for s in found if not one else ():
        if s.name == "mean_condition" and s.condition is not None:
            conditions.setdefault(s.condition, {})[s.arm] = s
    flips: dict[tuple[str, float], dict[str, RobustnessScore]] = {}
    for s in found:
        if s.name == "flip_rate" and s.condition is not None and s.severity is not None:
            flips.setdefault((s.condition, s.severity), {})[s.arm] = s
    rows = [s.model_dump() for s in found]
    return Section(
        "scalars",
        "Robustness in numbers",
        [Figure("scalars", "", [], rows)],
        {
            "columns": columns,
            "conditions": conditions,
            "flips": flips,
            "sweeps": {sweep.condition: sweep for sweep in view.sweeps},
        },
    )


def _overall(scalar: RobustnessScore, *, one: bool) -> bool:
    return scalar.condition is None or scalar.name == "worst" or (one and scalar.name == "log_area")
