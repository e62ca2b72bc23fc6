"""Rate-accuracy curves: the headline metric against bit rate for each codec, and Bjontegaard differences."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from blear.evaluate.statistics.rate_accuracy import HULL
from blear.evaluate.statistics.results import BjontegaardDelta, RateAccuracyCurve, cubic_differs
from blear.report.drawing import PANEL, WIDE, panel, style
from blear.report.figure import Cell, Figure, Panel, slug
from blear.report.section import Section
from blear.report.text import shortened
from blear.report.theme import COLORS
from blear.report.view import View

_LINES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")
_MARKERS = "osD^vPX*h"
_LEGEND_COLUMNS = 3


def section(view: View) -> Section | None:
    """Returns None where no condition has a bit rate."""
    curves = [curve for curve in view.summary.rates if curve.metric == view.headline.name]
    if not curves:
        return None
    codecs = list(dict.fromkeys(curve.codec for curve in curves))
    panels = []
    for codec in codecs:
        of = [curve for curve in curves if curve.codec == codec]
        name, alt = f"rate-{slug(codec)}", _alt(view, codec, of)
        if len(codecs) == 1:
            panels.append(Panel(name, alt, canvas(view, codec, of, wide=True), wide=True))
            name += "-narrow"
        panels.append(Panel(name, alt, canvas(view, codec, of, wide=False)))
    caption = f"{view.headline.label} against bit rate, with isotonic regression and 95 % intervals."
    if any(curve.factor == HULL for curve in curves):
        caption += " Broad pale line: the upper hull over all factors."
    labels = {metric.name: metric.label for metric in view.summary.metrics}
    return Section(
        "rate",
        "Rate and accuracy",
        [Figure("rate", caption, panels, _points(view), legend=True), Figure("bd", "", [], _differences(view))],
        {
            "few": [curve for curve in curves if not curve.enough and curve.factor != HULL],
            "pairs": _pairs(view),
            "labels": labels,
            "cubic_differs": cubic_differs,
            "macs": [(arm.label, f"{arm.macs / 1e6:,.3g}") for arm in view.arms if arm.macs is not None],
            "others": list(dict.fromkeys(bd.metric for bd in view.summary.bd if bd.metric != view.headline.name)),
        },
    )


def canvas(view: View, codec: str, curves: list[RateAccuracyCurve], *, wide: bool) -> Canvas:
    """Draws all arms and factors of one codec. Colours are arms, line styles are factors."""
    factors = list(dict.fromkeys(curve.factor for curve in curves if curve.factor != HULL))
    named = [factor for factor in factors if factor]
    lines = {factor: _LINES[i % len(_LINES)] for i, factor in enumerate(factors)}
    with style():
        rows = -(-len(named) // _LEGEND_COLUMNS) if named else 0
        bottom = 0.5 + 0.2 * rows
        figure, axes = panel(*WIDE, bottom=bottom) if wide else panel(height=PANEL[1] + 0.2 * rows, bottom=bottom)
        for curve in curves:
            arm = next(arm for arm in view.arms if arm.label == curve.arm)
            if curve.factor == HULL:
                _hull(axes, curve, arm.color)
            else:
                _curve(axes, curve, arm.color, lines[curve.factor], _MARKERS[arm.number % len(_MARKERS)])
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set(xlabel="kbit/s", ylabel=view.headline.label)
        axes.set_title(shortened(codec))
        if named:
            color = COLORS["text"][0]
            handles = [
                Line2D([], [], color=color, linewidth=1.4, linestyle=lines[f], label=f or "plain") for f in factors
            ]
            figure.legend(handles=handles, frameon=False, fontsize=8, loc="lower center", ncols=_LEGEND_COLUMNS)
    return figure


def _curve(axes: Axes, curve: RateAccuracyCurve, color: str, line: str, mark: str) -> None:
    known = [point for point in curve.points if point.value is not None]
    rates, values = [point.kbps for point in known], [point.value or 0.0 for point in known]
    axes.plot(rates, values, mark, color=color, markersize=4)
    spans = [(p.kbps, p.low, p.high) for p in known if p.low is not None and p.high is not None]
    if spans:
        axes.vlines(*np.array(spans).T, color=color, alpha=0.35, linewidth=1.2)
    fitted = [(p.kbps, p.fitted) for p in curve.points if p.fitted is not None]
    if fitted:
        axes.plot(*np.array(fitted).T, line, color=color, linewidth=1.4)


def _hull(axes: Axes, curve: RateAccuracyCurve, color: str) -> None:
    fitted = [(p.kbps, p.fitted if p.fitted is not None else p.value) for p in curve.points]
    known = [(rate, value) for rate, value in fitted if value is not None]
    if known:
        axes.plot(*np.array(known).T, "-", color=color, linewidth=6, alpha=0.22, solid_capstyle="round")


def _pairs(view: View) -> list[tuple[BjontegaardDelta, dict[tuple[str, str], BjontegaardDelta]]]:
    """Returns (one difference, (metric, kind) -> difference) of each pair of curves; hulls first."""
    found: dict[tuple[str, ...], dict[tuple[str, str], BjontegaardDelta]] = {}
    for bd in view.summary.bd:
        key = (bd.codec, bd.arm, bd.factor, bd.against, bd.against_factor)
        found.setdefault(key, {})[bd.metric, bd.kind] = bd
    pairs = [(next(iter(of.values())), of) for of in found.values()]
    return sorted(pairs, key=lambda pair: pair[0].factor != HULL)


def _points(view: View) -> list[dict[str, Cell]]:
    macs = {arm.label: arm.macs for arm in view.arms}
    return [
        {"arm": c.arm, "codec": c.codec, "factor": c.factor, "metric": c.metric, "macs": macs[c.arm]}
        | point.model_dump()
        for c in view.summary.rates
        for point in c.points
    ]


def _differences(view: View) -> list[dict[str, Cell]]:
    return [bd.model_dump() for bd in view.summary.bd]


def _alt(view: View, codec: str, curves: list[RateAccuracyCurve]) -> str:
    parts = []
    for curve in curves:
        known = [p for p in curve.points if p.value is not None]
        if curve.factor != HULL and known:
            ends = (
                f"{known[0].value:.3f} at {known[0].kbps:.3g} kbit/s to {known[-1].value:.3f} at {known[-1].kbps:.3g}"
            )
            parts.append(f"{curve.arm} {curve.factor}".strip() + f" from {ends}")
    return f"{view.headline.label} against bit rate for {codec}: " + "; ".join(parts)
