"""Confusion matrices of every arm at the selected levels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle

from blear.report.drawing import PANEL, panel, style
from blear.report.figure import Cell, Figure, Panel, slug
from blear.report.levels import DisplayedLevel, displayed_levels, selection_rule
from blear.report.section import Section
from blear.report.text import shortened
from blear.report.theme import COLORS
from blear.report.view import Arm, View

STRONGEST = 0.6
"""Opacity of a share of 1; the number in the cell is readable on it."""
_CHARACTER_WIDTH = 0.068  # inches
_MAX_NUMBERED_CLASSES = 10  # more classes have no numbers in the cells
_MAX_NAMED_CLASSES = 40  # more classes have no names at the axes
_NAME_LENGTH = 18


def section(view: View) -> Section | None:
    """Returns None for a regression target."""
    known = {(c.arm, c.condition, c.severity): np.array(c.counts) for c in view.summary.confusion}
    panels, rows = [], []
    for level in displayed_levels(view):
        for arm in view.arms:
            counts_KK = known.get((arm.label, level.condition, level.severity))
            if counts_KK is not None:
                name = f"confusion-{slug(arm.label)}-{slug(level.text)}"
                drawn = canvas(arm.label, level.text, view.classes, shares(counts_KK))
                alt = _alt(arm, level, view.classes, shares(counts_KK))
                panels.append(Panel(name, alt, drawn, group=level.text))
                rows += _rows(arm, level, view.classes, counts_KK)
    if not panels:
        return None
    caption = (
        "Per cent of each true class (row) that was predicted as each class (column), of decisions with a found face."
    )
    return Section(
        "confusion", "Confusion", [Figure("confusion", caption, panels, rows)], {"rule": selection_rule(view)}
    )


def shares(counts_KK: np.ndarray) -> np.ndarray:
    """Divides counts by the total of each true class (row), float64 [K, K]; NaN in the row of an absent class."""
    total_K1 = counts_KK.sum(axis=1, keepdims=True).astype(np.float64)
    return np.divide(counts_KK, total_K1, out=np.full(counts_KK.shape, np.nan), where=total_K1 > 0)


def canvas(arm: str, level: str, classes: Sequence[str], shares_KK: np.ndarray) -> Canvas:
    """Draws one matrix; a larger share is darker."""
    count = len(classes)
    with style():
        labels = [shortened(name, _NAME_LENGTH) for name in classes] if count <= _MAX_NAMED_CLASSES else []
        longest = max((len(label) for label in labels), default=0) * _CHARACTER_WIDTH
        figure, axes = panel(height=PANEL[0], left=0.35 + longest, bottom=0.35 + 0.75 * longest, top=0.4)
        axes.grid(visible=False)
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
        for row in range(count):
            for column in range(count):
                share = shares_KK[row, column]
                if not np.isfinite(share):
                    continue
                if share > 0:
                    cell = (column - 0.5, row - 0.5)
                    axes.add_patch(Rectangle(cell, 1, 1, color=COLORS["heat"][0], alpha=STRONGEST * share, linewidth=0))
                if count <= _MAX_NUMBERED_CLASSES:
                    weight = "bold" if row == column else "normal"
                    axes.text(
                        column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, fontweight=weight
                    )
        places = range(len(labels))
        axes.set_xticks(places, labels=labels, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(places, labels=labels, fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(True)
        axes.set_xlabel("predicted")
        axes.set_ylabel("truth")
        figure.text(0.02, 0.985, shortened(arm), va="top", fontsize=9.5, fontweight="bold")
        figure.text(0.02, 0.935, level, va="top", fontsize=8.5)
    return figure


def _rows(arm: Arm, level: DisplayedLevel, classes: Sequence[str], counts_KK: np.ndarray) -> list[dict[str, Cell]]:
    shares_KK = shares(counts_KK)
    return [
        {
            "arm": arm.label,
            "condition": level.condition,
            "severity": level.severity,
            "truth": truth,
            "said": predicted,
            "count": int(counts_KK[row, column]),
            "share": float(shares_KK[row, column]) if np.isfinite(shares_KK[row, column]) else None,
        }
        for row, truth in enumerate(classes)
        for column, predicted in enumerate(classes)
    ]


def _alt(arm: Arm, level: DisplayedLevel, classes: Sequence[str], shares_KK: np.ndarray) -> str:
    known = np.nan_to_num(shares_KK)
    wrong = known - np.diag(np.diag(known))
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    recall = ", ".join(
        f"{name} {100 * shares_KK[i, i]:.0f} %" if np.isfinite(shares_KK[i, i]) else f"{name} absent"
        for i, name in enumerate(classes)
    )
    text = f"Confusion matrix of {arm.label} at {level.text}; recall: {recall}"
    if wrong.max() > 0:
        text += f"; most frequent error: {classes[row]} predicted as {classes[column]}, {100 * wrong.max():.0f} %"
    return text
