"""Slices: the headline metric on the decisions that share a value of a column."""

from __future__ import annotations

from matplotlib.figure import Figure as Canvas

from blear.evaluate.markdown import format_number
from blear.evaluate.statistics.results import Slice
from blear.report.drawing import panel, style
from blear.report.figure import Figure, Panel, slug
from blear.report.levels import Place, shown_places
from blear.report.section import Section
from blear.report.text import shortened
from blear.report.view import View

_MOST_GROUPS = 14
_Cells = dict[tuple[str, str], Slice]


def section(view: View) -> Section | None:
    """None where the job asks for no slices."""
    if not view.summary.slices:
        return None
    columns = list(dict.fromkeys(s.column for s in view.summary.slices))
    panels, tables = [], []
    for column in columns:
        for place in shown_places(view):
            cells = _cells(view, column, place)
            groups = list(dict.fromkeys(group for group, _ in cells))
            if not groups:
                continue
            tables.append((column, place, groups, cells))
            if len(groups) <= _MOST_GROUPS:
                name = f"slices-{slug(column)}-{slug(place.text)}"
                drawn = canvas(view, place, groups, cells)
                panels.append(Panel(name, _alt(view, column, place, groups, cells), drawn, group=column))
    caption = f"{view.headline.label} with 95 % intervals; hollow: few decisions, not to be read alone."
    rows = [s.model_dump() for s in view.summary.slices]
    return Section("slices", "Slices", [Figure("slices", caption, panels, rows, arms=True)], {"tables": tables})


def canvas(view: View, place: Place, groups: list[str], cells: _Cells) -> Canvas:
    """A row for each value of the column, in it a mark for each arm."""
    longest = min(max(len(group) for group in groups), 18)
    with style():
        height = 0.8 + len(groups) * (0.16 + 0.12 * len(view.arms))
        figure, axes = panel(height=height, left=0.25 + 0.068 * longest)
        for place_of, arm in enumerate(view.arms):
            for row, group in enumerate(groups):
                s = cells.get((group, arm.label))
                if s is None or s.value is None:
                    continue
                y = row + (place_of - (len(view.arms) - 1) / 2) * 0.7 / len(view.arms)
                if s.low is not None and s.high is not None:
                    axes.plot([s.low, s.high], [y, y], color=arm.color, linewidth=1.4)
                face = axes.get_facecolor() if s.small else arm.color
                axes.plot(s.value, y, "o", color=arm.color, markerfacecolor=face, markersize=4.5)
        axes.set_yticks(range(len(groups)), labels=[shortened(group, 18) for group in groups])
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel(view.headline.label)
        axes.set_title(shortened(place.text))
    return figure


def _cells(view: View, column: str, place: Place) -> _Cells:
    return {
        (s.group, s.arm): s
        for s in view.summary.slices
        if (s.column, s.condition, s.severity) == (column, place.condition, place.severity)
    }


def _alt(view: View, column: str, place: Place, groups: list[str], cells: _Cells) -> str:
    def values(group: str) -> str:
        known = [(arm.label, cells[group, arm.label]) for arm in view.arms if (group, arm.label) in cells]
        return f"{group}: " + ", ".join(f"{label} {format_number(s.value)}" for label, s in known)

    return f"{view.headline.label} by {column} at {place.text}. " + "; ".join(map(values, groups))
