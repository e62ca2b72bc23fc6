"""Which cells of an evaluation are looked at closely, by a fixed rule, so that none is picked for its looks."""

from __future__ import annotations

from dataclasses import dataclass

from blear.job.schema import CLEAN
from blear.report.files import Sweep
from blear.report.view import View


@dataclass(frozen=True)
class Place:
    """One condition at one severity; `text` is how the page names it."""

    condition: str
    severity: float
    text: str


def middle(sweep: Sweep) -> float:
    """The middle one of the degraded levels; the first level is the mildest."""
    degraded = sweep.levels[1:] or sweep.levels
    return degraded[(len(degraded) - 1) // 2]


def clean_place(view: View) -> Place:
    """Untouched frames where they were tested, else the mildest level of the first sweep."""
    if any(view.clean(arm.label) for arm in view.arms):
        return Place(CLEAN, 0.0, "clean")
    return _place(view, view.main, view.main.levels[0])


def shown_places(view: View) -> list[Place]:
    """Clean; the middle and the last level of the first sweep; of several sweeps also the level that is worst for all.

    The worst one has the worst mean of the headline metric over the arms, upper bounds left out.
    """
    chosen = [
        clean_place(view),
        _place(view, view.main, middle(view.main)),
        _place(view, view.main, view.main.levels[-1]),
    ]
    if len(view.sweeps) > 1 and (worst := _worst(view)) is not None:
        chosen.append(worst)
    return list({(place.condition, place.severity): place for place in chosen}.values())


def rule(view: View) -> str:
    """How `shown_places` chooses, in words."""
    swept = view.main.parameter if len(view.sweeps) == 1 else f"{view.main.condition} {view.main.parameter}"
    text = f"{clean_place(view).text}, then the middle and the last level of {swept}"
    return text + (
        f", then the level at which the arms’ mean {view.headline.label} is worst" if len(view.sweeps) > 1 else ""
    )


def _worst(view: View) -> Place | None:
    sign = 1 if view.headline.higher_is_better else -1
    found: list[tuple[float, int, Place]] = []
    for sweep in view.sweeps:
        for level in sweep.levels:
            tested = [view.estimate(arm.label, sweep.condition, level) for arm in view.arms if not arm.bound]
            values = [e.value for e in tested if e is not None and e.value is not None]
            if values:
                found.append((sign * sum(values) / len(values), len(found), _place(view, sweep, level)))
    return min(found)[2] if found else None


def _place(view: View, sweep: Sweep, severity: float) -> Place:
    label = sweep.condition.rpartition("/")[2] if sweep.condition == sweep.use else sweep.condition  # no plugin's name
    named = sweep.parameter if len(view.sweeps) == 1 else f"{label} {sweep.parameter}"
    return Place(sweep.condition, severity, f"{named} {severity:g}")
