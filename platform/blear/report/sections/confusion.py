"""Confusion matrices of every arm on clean frames, at the middle and the last level, and at the hardest of all."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle

from blear.evaluate.confusions import Confusion, confusion_of
from blear.report.drawing import PANEL, panel, style
from blear.report.figure import Cell, Figure, Panel, slug
from blear.report.levels import Place, rule, shown_places
from blear.report.section import Section
from blear.report.text import shortened
from blear.report.theme import TOKENS
from blear.report.view import Arm, View

STRONGEST = 0.6
"""Opacity of a share of 1, so that the number on it stays readable."""
_LETTER = 0.068  # inches
_MOST_NUMBERS = 10  # classes up to which the shares are written into the cells


def section(view: View) -> Section | None:
    """None for a target of values."""
    if not view.classes:
        return None
    panels, rows = [], []
    for place in shown_places(view):
        for arm in view.arms:
            if view.estimate(arm.label, place.condition, place.severity) is None:
                continue
            found = confusion_of(view.decisions, arm.label, place.condition, place.severity)
            name = f"confusion-{slug(arm.label)}-{slug(place.text)}"
            panels.append(Panel(name, _alt(arm, place, found), canvas(arm.label, place.text, found), group=place.text))
            rows += _rows(arm, place, found)
    caption = "Percent of each true class (row) that was called each class (column). "
    caption += "What is missing to 100 had no face found."
    return Section("confusion", "Confusion", [Figure("confusion", caption, panels, rows)], {"rule": rule(view)})


def canvas(arm: str, place: str, found: Confusion) -> Canvas:
    """One matrix, darker where the share is larger."""
    count = len(found.classes)
    with style():
        longest = max(len(name) for name in found.classes) * _LETTER
        figure, axes = panel(height=PANEL[0], left=0.35 + longest, bottom=0.35 + 0.75 * longest, top=0.4)
        axes.grid(visible=False)
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
        for row in range(count):
            for column in range(count):
                share = found.shares_KK[row, column]
                if not np.isfinite(share):
                    continue
                cell = (column - 0.5, row - 0.5)
                axes.add_patch(Rectangle(cell, 1, 1, color=TOKENS["heat"][0], alpha=STRONGEST * share, linewidth=0))
                if count <= _MOST_NUMBERS:
                    weight = "bold" if row == column else "normal"
                    axes.text(
                        column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, fontweight=weight
                    )
        axes.set_xticks(range(count), labels=found.classes, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(range(count), labels=found.classes, fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(True)
        axes.set_xlabel("said")
        axes.set_ylabel("truth")
        figure.text(0.02, 0.985, shortened(arm), va="top", fontsize=9.5, fontweight="bold")
        figure.text(0.02, 0.935, place, va="top", fontsize=8.5)
    return figure


def _rows(arm: Arm, place: Place, found: Confusion) -> list[dict[str, Cell]]:
    return [
        {
            "arm": arm.label,
            "condition": place.condition,
            "severity": place.severity,
            "truth": truth,
            "said": said,
            "count": int(found.counts_KK[row, column]),
            "share": None if not found.total_K[row] else float(found.shares_KK[row, column]),
        }
        for row, truth in enumerate(found.classes)
        for column, said in enumerate(found.classes)
    ]


def _alt(arm: Arm, place: Place, found: Confusion) -> str:
    shares = np.nan_to_num(found.shares_KK)
    wrong = shares - np.diag(np.diag(shares))
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    recall = ", ".join(f"{name} {100 * shares[i, i]:.0f} %" for i, name in enumerate(found.classes))
    text = f"Confusion matrix of {arm.label} at {place.text}; right: {recall}"
    if wrong.max() > 0:
        text += f"; most often mistaken: {found.classes[row]} for {found.classes[column]}, {100 * wrong.max():.0f} %"
    return text
