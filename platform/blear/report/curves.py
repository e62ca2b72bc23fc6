"""Robustness curves: the headline metric of every arm against the severity of a condition, with 95 % bands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from blear.evaluate.statistics.curve_fitting import isotonic_regression
from blear.evaluate.summary import Estimate
from blear.report.drawing import WIDE, panel, style
from blear.report.run_info import Sweep
from blear.report.text import shortened
from blear.report.view import Arm, View

_MARKERS = "osD^vPX*h"
_FEW_ARMS = 4
_MOST_TICKS = 9


def wide_curve(view: View, sweep: Sweep) -> Figure:
    """Draws the curve of a sweep as wide as the page, with the arm's label at the end of each line."""
    with style():
        figure = Figure(figsize=WIDE, layout="constrained")
        axes = figure.add_subplot()
        ends = _draw(axes, view, sweep)
        axes.set_xticks(sweep.levels, labels=_ticks(view, sweep))
        axes.set_xticks([], minor=True)
        axes.set_xlabel(_axis_label(sweep))
        arrow = "higher is better" if view.headline.higher_is_better else "lower is better"
        axes.set_ylabel(f"{view.headline.label}, {view.summary.target} ({arrow})")
        _label_lines(axes, ends, x=sweep.levels[-1])
    return figure


def panel_curve(view: View, sweep: Sweep, limits: tuple[float, float] | None, *, titled: bool) -> Figure:
    """Draws the curve of a sweep as one of several panels, with a common vertical axis and the condition as title."""
    with style():
        figure, axes = panel()
        _draw(axes, view, sweep)
        shown = sweep.levels if len(sweep.levels) <= _MOST_TICKS else sweep.levels[:: len(sweep.levels) // 5]
        axes.set_xticks(shown, labels=[f"{level:g}" for level in shown])
        axes.set_xticks([], minor=True)
        if titled:
            axes.set_title(shortened(sweep.condition))
            axes.set_xlabel(sweep.parameter)
        else:
            axes.set_xlabel(_axis_label(sweep))
        axes.set_ylabel(view.headline.label)
        if limits is not None:
            axes.set_ylim(*limits)
    return figure


def limits(view: View) -> tuple[float, float] | None:
    """Returns the common vertical axis of all conditions: all values with their whole bands, and a margin."""
    swept = {sweep.condition for sweep in view.sweeps}
    found = [e for e in view.summary.estimates if e.metric == view.headline.name and e.condition in swept]
    drawn = [v for e in found if e.value is not None for v in (e.value, e.low, e.high) if v is not None]
    drawn += [e.value for arm in view.arms if (e := view.clean(arm.label)) is not None and e.value is not None]
    if not drawn:
        return None
    margin = (max(drawn) - min(drawn) or 0.1) / 20
    return min(drawn) - margin, max(drawn) + margin


def _draw(axes: Axes, view: View, sweep: Sweep) -> list[tuple[float, float, str, str]]:
    """Draws the lines of all arms; returns (y, x, label, colour) of the end of each."""
    levels, ends = sweep.levels, []
    for arm in view.arms:
        color, marker = arm.color, _MARKERS[arm.number % len(_MARKERS)]
        clean = view.clean(arm.label)
        if clean is not None and clean.value is not None:
            axes.axhline(clean.value, color=color, linewidth=0.9, linestyle=(0, (1, 3)), alpha=0.8)
        found = [e for level in levels if (e := view.estimate(arm.label, sweep.condition, level))]
        points = [(e.severity, e.value) for e in found if e.value is not None]
        if not points:
            continue
        x, y = zip(*points, strict=True)
        axes.plot(x, y, _line(arm), color=color, marker=marker, markersize=4.5, linewidth=1.7)
        _band(axes, found, color, 0.13 if len(view.arms) <= _FEW_ARMS else 0.07)
        ends.append((y[-1], x[-1], arm.label, color))
    if min(levels) > 0 and max(levels) >= 4 * min(levels):
        axes.set_xscale("log", base=2)
    if levels[0] > levels[-1]:
        axes.invert_xaxis()  # the mildest level is on the left
    return ends


def _line(arm: Arm) -> str:
    return "--" if arm.is_upper_bound else ":" if arm.number >= len(_MARKERS) else "-"


def _band(axes: Axes, found: Sequence[Estimate], color: str, alpha: float) -> None:
    band = [(e.severity, e.low, e.high) for e in found if e.low is not None and e.high is not None]
    if len(band) > 1:
        axes.fill_between(*np.array(band).T, color=color, alpha=alpha, linewidth=0)
    elif band:
        axes.vlines(*band[0], color=color, alpha=0.5)


def _axis_label(sweep: Sweep) -> str:
    return f"{sweep.parameter} ({sweep.condition})"


def _ticks(view: View, sweep: Sweep) -> list[str]:
    """Returns the tick labels: severities, and below them the face width where it differs between severities."""
    found = {s: view.estimate(view.arms[0].label, sweep.condition, s) for s in sweep.levels}
    pixels = {s: e.face_px for s, e in found.items() if e is not None and e.face_px is not None}
    if len(set(pixels.values())) < 2:
        return [f"{level:g}" for level in sweep.levels]
    return [f"{level:g}\n{pixels[level]:.3g} px" if level in pixels else f"{level:g}" for level in sweep.levels]


def _label_lines(axes: Axes, ends: Sequence[tuple[float, float, str, str]], x: float) -> None:
    """Writes the label of each line beside its end; labels that would overlap are moved apart."""
    if not ends:
        return
    low, high = axes.get_ylim()
    gap = (high - low) * 0.055
    ordered = sorted(ends)
    slots = np.arange(len(ordered)) * gap
    places = isotonic_regression(np.array([end[0] for end in ordered]) - slots) + slots  # least moves, no overlap
    for (y, end, arm, color), place in zip(ordered, places, strict=True):
        moved = abs(place - y) > gap / 4 or end != x
        axes.annotate(
            arm,
            (end, y),
            xytext=(1.03, place),
            textcoords=("axes fraction", "data"),
            color=color,
            va="center",
            fontweight="bold",
            fontsize=9,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "alpha": 0.4,
                "linewidth": 0.8,
                "relpos": (0, 0.5),
                "shrinkA": 1,
            }
            if moved
            else None,
        )
    axes.set_ylim(low, high)
