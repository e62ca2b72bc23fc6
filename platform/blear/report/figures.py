"""The figures of a report, drawn with matplotlib on white: the robustness curve and the learning curves."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from blear.evaluate.summary import Summary
from blear.report.files import RunInfo, StageInfo, StageLog

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B4513", "#7F7F7F")
"""Okabe and Ito 2008 without its yellow, which is too faint on white, and two more."""
_MARKERS = "osD^vPX*h"
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "svg.fonttype": "path",  # looks alike everywhere; the numbers stand in the tables as text
    "svg.hashsalt": "blear",
}
_MAX_POINTS = 300
_FEW_ARMS, _COLUMNS = 4, 3
_WIDTH, _NARROW_WIDTH = 9.2, 4.3  # inches


def curve(summary: Summary, info: RunInfo, *, narrow: bool = False) -> Figure:
    """The headline metric of every arm against the swept parameter, with 95 % bands; logarithmic where it spans 4x."""
    levels, condition = info.sweep.levels, info.sweep.condition
    with mpl.rc_context(_STYLE):
        figure = Figure(
            figsize=(_NARROW_WIDTH, 4.6 + 0.2 * len(summary.arms)) if narrow else (_WIDTH, 4.6), layout="constrained"
        )
        axes = figure.add_subplot()
        ends = []
        for number, arm in enumerate(summary.arms):
            found = [e for level in levels if (e := summary.estimate(arm, condition, level)) and e.value is not None]
            if not found:
                continue
            color, marker = COLORS[number % len(COLORS)], _MARKERS[number % len(_MARKERS)]
            x, y = [e.severity for e in found], [float(e.value or 0) for e in found]
            line = "--" if arm in info.clean_arms else ":" if number >= len(COLORS) else "-"
            axes.plot(x, y, line, color=color, marker=marker, markersize=5, linewidth=1.8, label=arm)
            band = [(e.severity, e.low, e.high) for e in found if e.low is not None and e.high is not None]
            if len(band) > 1:
                axes.fill_between(
                    *np.array(band).T, color=color, alpha=0.12 if len(summary.arms) <= _FEW_ARMS else 0.06, linewidth=0
                )
            elif band:
                axes.vlines(*band[0], color=color, alpha=0.5)
            ends.append((y[-1], x[-1], arm, color))
        _severity_axis(axes, levels, _ticks(summary, condition, levels, narrow=narrow))
        axes.set_xlabel(f"{info.sweep.parameter} ({condition})")
        arrow = "higher is better" if info.headline.higher_is_better else "lower is better"
        axes.set_ylabel(f"{info.headline.label}, {info.headline.target} ({arrow})")
        if narrow:
            figure.legend(loc="outside lower center", ncols=1, frameon=False)
        else:
            _label_lines(axes, ends, x=levels[-1])
    return figure


def learning(stages: Sequence[tuple[StageInfo, StageLog]], *, narrow: bool = False) -> Figure:
    """Training loss (line) and validation loss (dots) of each stage; logarithmic where the loss spans a decade."""
    columns = 1 if narrow else min(_COLUMNS, len(stages))
    rows = math.ceil(len(stages) / columns)
    with mpl.rc_context(_STYLE | {"font.size": 9}):
        figure = Figure(
            figsize=(_NARROW_WIDTH if narrow else _WIDTH, (2.9 if columns < _COLUMNS else 2.4) * rows),
            layout="constrained",
        )
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (info, log) in zip(grid, stages, strict=False):
            for (steps, losses), style in ((_thinned(log.loss), "-"), (_thinned(log.validation), "o--")):
                if len(steps):
                    label = "training" if style == "-" else "validation"
                    color = COLORS[0] if style == "-" else COLORS[1]
                    axes.plot(steps, losses, style, color=color, markersize=3.5, linewidth=1.2, label=label)
            known = np.concatenate([log.loss[1], log.validation[1]])
            if len(known) and known.min() > 0 and known.max() >= 10 * known.min():
                axes.set_yscale("log")
            axes.set_title(info.name, fontsize=9, loc="left", fontweight="bold")
            axes.set_xlabel("step")
            if log.validation.size:
                axes.legend(frameon=False, fontsize=8)
        for axes in grid[len(stages) :]:
            axes.set_axis_off()
        for axes in grid[::columns]:
            axes.set_ylabel("loss")
    return figure


def svg(figure: Figure, name: str, description: str) -> str:
    """Inline SVG whose ids are unique in the page; `description` is what a screen reader says."""
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text[text.index("<svg") :])
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" class="{name}" ', 1)


def _severity_axis(axes: Axes, levels: Sequence[float], labels: Sequence[str]) -> None:
    if min(levels) > 0 and max(levels) >= 4 * min(levels):
        axes.set_xscale("log", base=2)
    axes.set_xticks(levels, labels=labels)
    axes.set_xticks([], minor=True)
    if levels[0] > levels[-1]:
        axes.invert_xaxis()  # mildest always on the left


def _ticks(summary: Summary, condition: str, levels: Sequence[float], *, narrow: bool) -> list[str]:
    """Severities; below them the face's width, where it differs between them."""
    arm = summary.arms[0]
    pixels = {s: e.face_px for s in levels if (e := summary.estimate(arm, condition, s)) and e.face_px is not None}
    if narrow or len(set(pixels.values())) < 2:
        return [f"{level:g}" for level in levels]
    return [f"{level:g}\n{pixels[level]:.3g} px" if level in pixels else f"{level:g}" for level in levels]


def _label_lines(axes: Axes, ends: Sequence[tuple[float, float, str, str]], x: float) -> None:
    """Names each line beside its end; names that would overlap are moved apart."""
    if not ends:
        return
    low, high = axes.get_ylim()
    gap = (high - low) * 0.055
    ordered = sorted(ends)
    slots = np.arange(len(ordered)) * gap
    places = isotonic_regression(np.array([end[0] for end in ordered]) - slots).x + slots  # least moves, no overlap
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


def _thinned(points: np.ndarray) -> np.ndarray:
    """Means of equally many neighbours, so that a long log stays small on the page."""
    if points.shape[1] <= _MAX_POINTS:
        return points
    return np.stack([part.mean(axis=1) for part in np.array_split(points, _MAX_POINTS, axis=1)], axis=1)
