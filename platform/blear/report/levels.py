"""Selects the levels that the report shows in detail, by a fixed rule that does not depend on how the results look."""

from __future__ import annotations

from dataclasses import dataclass

from blear.job.schema import CLEAN
from blear.report.run_info import Sweep
from blear.report.view import View


@dataclass(frozen=True)
class DisplayedLevel:
    """One condition at one severity. `text` is its name on the page."""

    condition: str
    severity: float
    text: str


def middle_level(sweep: Sweep) -> float:
    """Returns the middle one of the degraded levels. The first level is the mildest."""
    degraded = sweep.levels[1:] or sweep.levels
    return degraded[(len(degraded) - 1) // 2]


def clean_level(view: View) -> DisplayedLevel:
    """Returns clean frames where they were evaluated, else the mildest level of the first sweep."""
    if any(view.clean(arm.label) for arm in view.arms):
        return DisplayedLevel(CLEAN, 0.0, "clean")
    return _displayed_level(view, view.first_sweep, view.first_sweep.levels[0])


def displayed_levels(view: View) -> list[DisplayedLevel]:
    """Returns the levels that the report shows in detail.

    They are clean frames, the middle and the last level of the first sweep, and, for several sweeps, the worst level of
    all: the one with the worst mean of the headline metric over the arms. Upper bounds are excluded from that mean.
    """
    chosen = [
        clean_level(view),
        _displayed_level(view, view.first_sweep, middle_level(view.first_sweep)),
        _displayed_level(view, view.first_sweep, view.first_sweep.levels[-1]),
    ]
    if len(view.sweeps) > 1 and (worst := _worst_level(view)) is not None:
        chosen.append(worst)
    return list({(level.condition, level.severity): level for level in chosen}.values())


def selection_rule(view: View) -> str:
    """Describes the selection of `displayed_levels` for the page."""
    swept = (
        view.first_sweep.parameter
        if len(view.sweeps) == 1
        else f"{view.first_sweep.condition} {view.first_sweep.parameter}"
    )
    text = f"{clean_level(view).text}, then the middle and the last level of {swept}"
    return text + (
        f", then the level at which the arms’ mean {view.headline.label} is worst" if len(view.sweeps) > 1 else ""
    )


def _worst_level(view: View) -> DisplayedLevel | None:
    sign = 1 if view.headline.higher_is_better else -1
    found: list[tuple[float, int, DisplayedLevel]] = []
    for sweep in view.sweeps:
        for level in sweep.levels:
            tested = [view.estimate(arm.label, sweep.condition, level) for arm in view.arms if not arm.is_upper_bound]
            values = [e.value for e in tested if e is not None and e.value is not None]
            if values:
                found.append((sign * sum(values) / len(values), len(found), _displayed_level(view, sweep, level)))
    return min(found)[2] if found else None


def _displayed_level(view: View, sweep: Sweep, severity: float) -> DisplayedLevel:
    label = sweep.condition.rpartition("/")[2] if sweep.condition == sweep.use else sweep.condition  # no plugin's name
    named = sweep.parameter if len(view.sweeps) == 1 else f"{label} {sweep.parameter}"
    return DisplayedLevel(sweep.condition, severity, f"{named} {severity:g}")
