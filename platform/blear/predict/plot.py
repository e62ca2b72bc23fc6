"""Plots predictions over time: one panel for each target and person."""

from __future__ import annotations

import base64
import io
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blear.errors import RunError
from blear.predict.rows import Labels

_MOST_PEOPLE = 8
_GAP_S = 2.0  # a longer pause interrupts a line
_UNIT = 2.0  # values up to this size are drawn about a line at 0, with at least -1 to 1
_MOST_POINTS = 2000  # of a line; more are averaged
_COLOURS = (
    "#d62728",
    "#8c564b",
    "#9467bd",
    "#2ca02c",
    "#1f77b4",
    "#ff7f0e",
    "#7f7f7f",
    "#17becf",
    "#bcbd22",
    "#e377c2",
)


@dataclass
class _Curves:
    """The values of one person."""

    seconds: array[float] = field(default_factory=lambda: array("d"))
    values: dict[str, array[float]] = field(default_factory=dict)


def check_plot(out: Path) -> None:
    """Raises a RunError where the suffix of a plot is neither .png nor .html."""
    if out.suffix.lower() not in (".png", ".html"):
        raise RunError(f"the suffix {out.suffix!r} cannot be written", str(out), "choose .png or .html")


def plot_predictions(rows: Iterable[Mapping[str, Any]], targets: Sequence[str], labels: Labels, out: Path) -> None:
    """Writes a plot of the people with most faces; the picture stands in the page where `out` ends in .html.

    Args:
        rows: rows of `read_output`.

    Raises:
        RunError: see `check_plot`.
    """
    check_plot(out)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    people = _collect(rows, targets, labels)
    shown = sorted(people, key=lambda person: -len(people[person].seconds))[:_MOST_PEOPLE]
    panels = max(1, len(shown)) * len(targets)
    figure = Figure(figsize=(10, 2.3 * panels + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(panels, 1, squeeze=False, sharex=len({source for source, _ in shown}) == 1)[:, 0]
    limits = {target: _limits([people[one] for one in shown], target) for target in targets if target not in labels}
    for place, (source, person) in enumerate(shown):
        for number, target in enumerate(targets):
            axis = axes[place * len(targets) + number]
            _draw(axis, people[source, person], target, labels, limits.get(target, (0.0, 1.0)))
            axis.set_title(f"{Path(source).name}, person {person}: {target}", fontsize=9, loc="left")
    axes[-1].set_xlabel("seconds", fontsize=8)
    if not shown:
        axes[0].set_title("no face")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    _write(picture.getvalue(), out)


def _collect(
    rows: Iterable[Mapping[str, Any]], targets: Sequence[str], labels: Labels
) -> dict[tuple[str, str], _Curves]:
    """(input, person) -> values."""
    names = [name for target in targets for name in _names(target, labels)]
    people: dict[tuple[str, str], _Curves] = {}
    for row in rows:
        curves = people.setdefault((row["input"], str(row["person"])), _Curves())
        curves.seconds.append(row["seconds"])
        for name in names:
            curves.values.setdefault(name, array("f")).append(float(row[name]))
    return people


def _names(target: str, labels: Labels) -> list[str]:
    """Columns that are drawn for a target."""
    if target in labels:
        return [f"{target}_{name}" for name in labels[target]]
    return [target, f"{target}_smoothed"]


def _limits(people: Sequence[_Curves], target: str) -> tuple[float, float]:
    """Lowest and highest value of the axes of a regression target, the same for all people."""
    values = [np.asarray(curves.values[name], float) for curves in people for name in (target, f"{target}_smoothed")]
    low, high = min((v.min() for v in values), default=-1.0), max((v.max() for v in values), default=1.0)
    largest = float(max(-low, high))
    if largest <= _UNIT:
        return -1.05 * max(1.0, largest), 1.05 * max(1.0, largest)
    margin = 0.05 * max(float(high - low), 1e-6)
    return float(low) - margin, float(high) + margin


def _draw(axis: Any, curves: _Curves, target: str, labels: Labels, limits: tuple[float, float]) -> None:
    is_class = target in labels
    for number, name in enumerate(_names(target, labels)):
        seconds, values = _thinned(np.array(curves.seconds), np.array(curves.values[name], float))
        gaps = np.flatnonzero(np.diff(seconds) > _GAP_S) + 1
        raw = not is_class and number == 0
        axis.plot(
            np.insert(seconds, gaps, np.nan),
            np.insert(values, gaps, np.nan),
            ".-" if len(seconds) < 200 else "-",
            ms=3,
            lw=0.8 if raw else 1.3,
            color="#b0b0b0" if raw else _COLOURS[number % len(_COLOURS)] if is_class else "#1f77b4",
            label=name.removeprefix(f"{target}_") if is_class else name.replace("_", ", "),
        )
    axis.set_ylim(*limits)
    if limits[0] < 0 < limits[1]:
        axis.axhline(0, color="black", lw=0.6)
    axis.grid(alpha=0.3)
    axis.tick_params(labelsize=8, labelbottom=True)
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _thinned(seconds: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `_MOST_POINTS` points: means of neighbours."""
    step = -(-len(seconds) // _MOST_POINTS)
    if step <= 1:
        return seconds, values
    starts = np.arange(0, len(seconds), step)
    counts = np.diff([*starts, len(seconds)])
    return np.add.reduceat(seconds, starts) / counts, np.add.reduceat(values, starts) / counts


def _write(content: bytes, out: Path) -> None:
    if out.suffix.lower() == ".html":
        encoded = base64.b64encode(content).decode()
        image = f"<img style='max-width:100%' src='data:image/png;base64,{encoded}' alt='predictions over time'>"
        content = f"<!doctype html><meta charset=utf-8><title>Predictions</title>{image}\n".encode()
    partial = out.with_name(f".{out.name}.writing")
    partial.write_bytes(content)
    partial.replace(out)
