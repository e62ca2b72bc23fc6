"""Slices: the headline metric of the decisions with the same value of a column."""

from __future__ import annotations

from matplotlib.figure import Figure as Canvas

from blear.evaluate.markdown import format_number
from blear.evaluate.statistics.results import Slice
from blear.report.drawing import panel, style
from blear.report.figure import Figure, Panel, slug
from blear.report.levels import DisplayedLevel, displayed_levels
from blear.report.section import Section
from blear.report.text import shortened
from blear.report.view import View

_MAX_DRAWN_GROUPS = 14
_Cells = dict[tuple[str, str], Slice]


def section(view: View) -> Section | None:
    """Returns None where the job has no slices."""
    if not view.summary.slices:
        return None
    columns = list(dict.fromkeys(s.column for s in view.summary.slices))
    panels, tables = [], []
    for column in columns:
        for level in displayed_levels(view):
            cells = _cells(view, column, level)
            groups = list(dict.fromkeys(group for group, _ in cells))
            if not groups:
                continue
            tables.append((column, level, groups, cells))
            if len(groups) <= _MAX_DRAWN_GROUPS:
                name = f"slices-{slug(column)}-{slug(level.text)}"
                drawn = canvas(view, level, groups, cells)
                panels.append(Panel(name, _alt(view, column, level, groups, cells), drawn, group=column))
    caption = f"{view.headline.label} with 95 % intervals; hollow: too few decisions to interpret alone."
    rows = [s.model_dump() for s in view.summary.slices]
    return Section("slices", "Slices", [Figure("slices", caption, panels, rows, legend=True)], {"tables": tables})


def canvas(view: View, level: DisplayedLevel, groups: list[str], cells: _Cells) -> Canvas:
    """Draws one row for each value of the column, with one marker for each arm."""
    longest = min(max(len(group) for group in groups), 18)
    with style():
        height = 0.8 + len(groups) * (0.16 + 0.12 * len(view.arms))
        figure, axes = panel(height=height, left=0.25 + 0.068 * longest)
        for index, arm in enumerate(view.arms):
            for row, group in enumerate(groups):
                s = cells.get((group, arm.label))
                if s is None or s.value is None:
                    continue
                y = row + (index - (len(view.arms) - 1) / 2) * 0.7 / len(view.arms)
                if s.low is not None and s.high is not None:
                    axes.plot([s.low, s.high], [y, y], color=arm.color, linewidth=1.4)
                face = axes.get_facecolor() if s.small else arm.color
                axes.plot(s.value, y, "o", color=arm.color, markerfacecolor=face, markersize=4.5)
        axes.set_yticks(range(len(groups)), labels=[shortened(group, 18) for group in groups])
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel(view.headline.label)
        axes.set_title(shortened(level.text))
    return figure


def _cells(view: View, column: str, level: DisplayedLevel) -> _Cells:
    return {
        (s.group, s.arm): s
        for s in view.summary.slices
        if (s.column, s.condition, s.severity) == (column, level.condition, level.severity)
    }


def _alt(view: View, column: str, level: DisplayedLevel, groups: list[str], cells: _Cells) -> str:
    def values(group: str) -> str:
        known = [(arm.label, cells[group, arm.label]) for arm in view.arms if (group, arm.label) in cells]
        return f"{group}: " + ", ".join(f"{label} {format_number(s.value)}" for label, s in known)

    return f"{view.headline.label} by {column} at {level.text}. " + "; ".join(map(values, groups))
