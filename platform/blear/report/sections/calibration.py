"""Calibration at the selected levels: reliability diagrams, risk-coverage curves, scores."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from blear.evaluate.statistics.results import Calibration, ReliabilityBin
from blear.report.drawing import panel, style
from blear.report.figure import Cell, Figure, Panel, slug
from blear.report.levels import DisplayedLevel, displayed_levels, selection_rule
from blear.report.section import Section
from blear.report.text import shortened
from blear.report.theme import COLORS
from blear.report.view import Arm, View

_MAX_MARKER_AREA = 90  # square points, of a bin with all decisions


def section(view: View) -> Section | None:
    """Returns None for a regression target."""
    known = {(c.arm, c.condition, c.severity): c for c in view.summary.calibration}
    levels = [(level, _arms(view, known, level)) for level in displayed_levels(view)]
    levels = [(level, of) for level, of in levels if of]
    if not levels:
        return None
    reliability = Figure(
        "reliability",
        "Accuracy against confidence; a larger marker means more decisions. On the diagonal, an arm is "
        "calibrated; below the diagonal, it is overconfident.",
        [Panel(f"reliability-{slug(p.text)}", _alt(p, of), _reliability(p, of)) for p, of in levels],
        _bins(known),
        legend=True,
    )
    risk = Figure(
        "risk-coverage",
        "Error rate of the most confident share of the decisions.",
        [Panel(f"risk-{slug(p.text)}", f"Risk against coverage at {p.text}", _risk(p, of)) for p, of in levels],
        _risks(known),
        legend=True,
    )
    scaled = any(c.scaled is not None for c in known.values())
    context = {"levels": levels, "scaled": scaled, "rule": selection_rule(view)}
    return Section("calibration", "Calibration", [reliability, risk], context)


_ArmCalibrations = list[tuple[Arm, Calibration]]


def _arms(view: View, known: dict[tuple[str, str, float], Calibration], level: DisplayedLevel) -> _ArmCalibrations:
    found = [(arm, known.get((arm.label, level.condition, level.severity))) for arm in view.arms]
    return [(arm, c) for arm, c in found if c is not None]


def _reliability(level: DisplayedLevel, of: _ArmCalibrations) -> Canvas:
    with style():
        figure, axes = panel(height=3.3)
        axes.plot([0, 1], [0, 1], color=COLORS["axis"][0], linewidth=1, linestyle="--")
        for arm, c in of:
            known = [
                (b.confidence, b.accuracy, 6 + _MAX_MARKER_AREA * b.n / c.n)
                for b in c.bins
                if b.confidence is not None and b.accuracy is not None
            ]
            x, y, sizes = np.array(known).reshape(-1, 3).T
            axes.plot(x, y, color=arm.color, linewidth=1.2)
            axes.scatter(x, y, s=sizes, color=arm.color, linewidth=0, zorder=3)
        _square(axes, level)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
    return figure


def _risk(level: DisplayedLevel, of: _ArmCalibrations) -> Canvas:
    with style():
        figure, axes = panel()
        for arm, c in of:
            axes.plot([(i + 1) / len(c.risk) for i in range(len(c.risk))], c.risk, color=arm.color, linewidth=1.6)
        axes.set_title(shortened(level.text))
        axes.set(xlim=(0, 1.02), xlabel="coverage", ylabel="error rate")
        axes.set_ylim(bottom=0)
    return figure


def _square(axes: Axes, level: DisplayedLevel) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title(shortened(level.text))


def _bins(known: dict[tuple[str, str, float], Calibration]) -> list[dict[str, Cell]]:
    def rows(c: Calibration, bins: list[ReliabilityBin], *, scaled: bool) -> list[dict[str, Cell]]:
        where: dict[str, Cell] = {"arm": c.arm, "condition": c.condition, "severity": c.severity, "scaled": scaled}
        return [where | b.model_dump() for b in bins]

    return [
        row
        for c in known.values()
        for row in rows(c, c.bins, scaled=False) + rows(c, c.scaled_bins, scaled=True)
        if row["n"]
    ]


def _risks(known: dict[tuple[str, str, float], Calibration]) -> list[dict[str, Cell]]:
    return [
        {"arm": c.arm, "condition": c.condition, "severity": c.severity, "coverage": (i + 1) / len(c.risk), "risk": r}
        for c in known.values()
        for i, r in enumerate(c.risk)
    ]


def _alt(level: DisplayedLevel, of: _ArmCalibrations) -> str:
    scores = "; ".join(f"{arm.label}: expected calibration error {c.scores.ece:.3f}" for arm, c in of)
    return f"Reliability diagram at {level.text}. {scores}"
