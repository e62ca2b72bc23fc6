"""The table, the plot and the JSON of a budget."""

from __future__ import annotations

import json
import math
from itertools import groupby
from pathlib import Path
from typing import Any

from blear.budget.run import Budget, Point
from blear.predict.inputs import printable

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b8578f", "#7a4300", "#6b5fd6", "#2a2c30", "#8a7a00", "#767676")


def budget_markdown(budget: Budget) -> str:
    """The settings as a table, the chosen one, and its command."""
    metric = "equal decisions" if budget.classes else "concordance"
    lines = [
        f"| codec, size, crf | kbit/s | share of {budget.source_kbps:.0f} kbit/s | {metric} | kept |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for point in budget.points:
        s, a = point.setting, point.agreement
        kept = "yes" if a.low >= budget.kept else "perhaps" if a.high >= budget.kept else "no"
        share = 100 * point.kbps / budget.source_kbps
        shown = "undefined" if math.isnan(a.value) else f"{a.value:.3f}"  # a concordance of equal values
        value = f"{shown} [{a.low:.3f}, {a.high:.3f}]"
        lines.append(f"| {s.codec}, 1/{s.factor:g}, {s.crf} | {point.kbps:.1f} | {share:.1f} % | {value} | {kept} |")
    first = f"{budget.target} of {budget.faces} faces in {len(budget.videos)} video(s), against the original"
    return "\n\n".join([first, "\n".join(lines), _chosen(budget)])


def _chosen(budget: Budget) -> str:
    likely = [point for point in budget.points if point.agreement.value >= budget.kept]
    if budget.best is None:
        text = f"no setting keeps {100 * budget.kept:g} % for certain"
        if likely:
            best = min(likely, key=lambda point: point.kbps)
            text += f"; {_name(best)} does on these faces ({best.kbps:.0f} kbit/s). A longer video narrows the interval"
        return text
    commands = [budget.best.setting.ffmpeg(video, budget.size) for video in budget.videos[:1]]
    text = f"cheapest that keeps {100 * budget.kept:g} %: {_name(budget.best)}, {budget.best.kbps:.1f} kbit/s"
    least = min(likely, key=lambda point: point.kbps)
    if least.kbps < budget.best.kbps:
        text += f". Perhaps {_name(least)} does too ({least.kbps:.1f} kbit/s): a longer video narrows the interval"
    return "\n\n".join([text, *commands])


def _name(point: Point) -> str:
    return f"{point.setting.codec}, 1/{point.setting.factor:g}, crf {point.setting.crf}"


def budget_json(budget: Budget, command: str) -> str:
    """All numbers as JSON, and the command that found them."""
    rows: list[dict[str, Any]] = [
        {
            "codec": point.setting.codec,
            "factor": point.setting.factor,
            "crf": point.setting.crf,
            "kbps": point.kbps,
            "agreement": None if math.isnan(point.agreement.value) else point.agreement.value,
            "low": point.agreement.low,
            "high": point.agreement.high,
        }
        for point in budget.points
    ]
    content = {
        "command": command,
        "videos": [printable(str(video)) for video in budget.videos],
        "target": budget.target,
        "metric": "equal decisions" if budget.classes else "ccc",
        "keep": budget.kept,
        "faces": budget.faces,
        "source_kbps": budget.source_kbps,
        "best": None if budget.best is None else rows[budget.points.index(budget.best)],
        "ffmpeg": None if budget.best is None else budget.best.setting.ffmpeg(budget.videos[0], budget.size),
        "points": rows,
    }
    return json.dumps(content, indent=1) + "\n"


def plot_budget(budget: Budget, out: Path) -> None:
    """Writes the agreement against the bit rate, one line for each codec and size, as PNG or SVG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    lines = groupby(budget.points, key=lambda point: (point.setting.codec, point.setting.factor))
    for number, ((codec, factor), own) in enumerate(lines):
        points = list(own)
        values = [point.agreement.value for point in points]
        below = [max(0.0, point.agreement.value - point.agreement.low) for point in points]
        above = [max(0.0, point.agreement.high - point.agreement.value) for point in points]
        rates, colour = [point.kbps for point in points], _COLOURS[number % len(_COLOURS)]
        axis.errorbar(
            rates, values, [below, above], marker="o", ms=4, capsize=2, color=colour, label=f"{codec}, 1/{factor:g}"
        )
    axis.axhline(budget.kept, color="#565d6a", lw=1, ls="--")
    axis.axvline(budget.source_kbps, color="#565d6a", lw=1, ls=":")
    low = axis.get_ylim()[0]
    axis.text(budget.source_kbps, low, "source ", fontsize=8, color="#565d6a", va="bottom", ha="right")
    if budget.best is not None:
        axis.plot(budget.best.kbps, budget.best.agreement.value, "o", ms=11, mfc="none", mec="#1c1e21")
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("kbit/s of the video")
    axis.set_ylabel("equal decisions" if budget.classes else "concordance with the original")
    axis.legend(fontsize=8)
    figure.savefig(out, dpi=130)
