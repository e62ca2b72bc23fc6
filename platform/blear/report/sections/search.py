"""The trials of a search: parallel coordinates, importance of the values, course of the best trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Canvas

from blear.report.drawing import WIDE, panel, style
from blear.report.figure import Cell, Figure, Panel
from blear.report.section import Section
from blear.report.sections.learning import canvas
from blear.report.text import shortened
from blear.report.theme import COLORS, arm_color
from blear.report.view import View
from blear.search.results import SearchResults, Trial, read_results

_ARM = "best"
_BEST, _OTHERS = arm_color(1), COLORS["heat"][0]


def section(view: View) -> Section | None:
    """Shows the first run that is a search; returns None without one."""
    run = next((run for run in view.runs if (run.root / "search.json").is_file()), None)
    if run is None:
        return None
    results = read_results(run.root / "search.json")
    done = [trial for trial in results.trials if trial.objectives]
    table = [_columns(trial) for trial in done]
    alt = _alt(results, done)
    lines = [
        Panel("search-trials", alt, _parallel(results, done, table, wide=True), wide=True),
        Panel("search-trials-narrow", alt, _parallel(results, done, table, wide=False)),
    ]
    panels = [Panel("search-order", "The best objective so far, after each trial", _order(results, done))]
    for path, weights in _mixtures(done):
        name = f"search-mix-{len(panels)}"
        panels.append(Panel(name, f"Mixtures of {path}, one dot a trial", _simplex(path, weights, results, done)))
    if results.importance:
        panels.append(Panel("search-importance", _importance_alt(results.importance), _bars(results.importance)))
    best = results.trial(results.best)
    stage = run.info.arms[_ARM].stage if _ARM in run.info.arms else ""
    for log in (log for info, log in run.stages if info.name == stage and log.loss.size):
        alt = f"Training loss of the best trial: from {log.loss[1, 0]:.4g} to {log.loss[1, -1]:.4g}"
        panels.append(Panel("search-learning", alt, canvas("The best trial", "loss", log.loss, log.validation)))
    if best is not None and len(best.looks) > 1:
        panels.append(Panel("search-best", "The objective of the best trial at each look", _looks(best, results)))
    rows: list[dict[str, Cell]] = [
        {"trial": trial.name, **columns, **trial.objectives, "seconds": round(trial.seconds, 1)}
        for trial, columns in zip(done, table, strict=True)
    ]
    caption = "Each line is a trial; better trials are darker, the best one has another colour."
    more = "Each dot is a trial. A corner of a mixture is one key alone, the centre has equal weights."
    progress: list[dict[str, Cell]] = [
        {"trial": trial.name, "step": step, results.objectives[0]: value}
        for trial in done
        for step, value in trial.looks
    ]
    failed = [trial for trial in results.trials if trial.error]
    whole = sum(trial.whole for trial in results.trials)
    context = {
        "results": results,
        "best": best,
        "failed": failed,
        "whole": whole,
        "early": len(results.trials) - whole - len(failed),
        "format_values": lambda trial: "; ".join(_format_value(path, value) for path, value in trial.values.items()),
    }
    figures = [Figure("search", caption, lines, rows), Figure("search-progress", more, panels, progress)]
    return Section("search", "The search", figures, context)


def _format_value(path: str, value: Any) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{key}: {_weights(inner)}" for key, inner in value.items())
    return f"{path.split('.', 1)[-1]} {value}"


def _weights(inner: Any) -> str:
    return "(" + ", ".join(f"{key}: {w}" for key, w in inner.items()) + ")" if isinstance(inner, dict) else f"{inner:g}"


def _columns(trial: Trial) -> dict[str, float | str]:
    """Returns column -> value of a trial. Each weight of a mixture is a column; of a schedule, the last mixture."""
    found: dict[str, float | str] = {}
    for path, value in trial.values.items():
        short = ".".join(path.split(".")[1:]) or path
        if not isinstance(value, dict):
            found[short] = value if isinstance(value, int | float) else str(value)
            continue
        last = list(value.values())[-1]
        found |= {f"{short} {key}": weight for key, weight in (last if isinstance(last, dict) else value).items()}
    return found


def _opacities(done: Sequence[Trial], name: str) -> list[float]:
    """Returns the opacity of each trial: from 0.15 for the worst to 1 for the best."""
    values = np.array([trial.objectives[name] for trial in done])
    span = float(np.ptp(values)) or 1.0
    return [0.15 + 0.85 * float(share) for share in (values - values.min()) / span]


def _parallel(
    results: SearchResults, done: Sequence[Trial], table: Sequence[Mapping[str, Any]], *, wide: bool
) -> Canvas:
    """Draws parallel coordinates with one axis for each value and objective: vertical axes if wide, else horizontal."""
    names = [*_last_parts(list(table[0])), *results.objectives]
    columns = [[row[name] for row in table] for name in table[0]]
    columns += [[trial.objectives[name] for trial in done] for name in results.objectives]
    scaled = [_scaled(values) for values in columns]
    places = range(len(names))
    with style():
        figure, axes = panel(*WIDE, left=0.3, bottom=0.9) if wide else panel(height=0.5 * len(names) + 0.7, left=1.1)
        for place, (_, low, high) in zip(places, scaled, strict=True):
            for end, text in ((0.0, low), (1.0, high)):
                at, shift = ((place, end), (3, -9 if end else 3)) if wide else ((end, place), (-16 if end else 2, 3))
                axes.annotate(text, at, xytext=shift, textcoords="offset points", fontsize=7)
        opacities = _opacities(done, results.objectives[0])
        for line, (trial, opacity) in enumerate(zip(done, opacities, strict=True)):
            best = trial.name == results.best
            track: tuple[Any, Any] = (places, [values[line] for values, _, _ in scaled])
            look: dict[str, Any] = {
                "color": _BEST if best else _OTHERS,
                "alpha": opacity,
                "linewidth": 2 if best else 1,
            }
            axes.plot(*(track if wide else track[::-1]), **look, zorder=2 + best)
        labels = [shortened(name) for name in names]
        if wide:
            axes.set_xticks(places, labels=labels, rotation=20, ha="right")
            axes.set_yticks([])
        else:
            axes.set_yticks(places, labels=labels)
            axes.set_xticks([])
            axes.invert_yaxis()
        axes.grid(axis="x" if wide else "y")
    return figure


def _last_parts(names: Sequence[str]) -> list[str]:
    """Shortens `degrade.0.factors 3` to `factors 3` where no other name has the same end."""
    short = [name.rpartition(".")[2] for name in names]
    return [part if short.count(part) == 1 else name for part, name in zip(short, names, strict=True)]


def _scaled(values: Sequence[Any]) -> tuple[list[float], str, str]:
    """Scales values to [0, 1]; returns them with the labels of both ends. Strings are in alphabetical order."""
    if any(isinstance(value, str) for value in values):
        words = sorted({str(value) for value in values})
        places = {word: n / max(1, len(words) - 1) for n, word in enumerate(words)}
        return [places[str(value)] for value in values], words[0], words[-1]
    low, high = min(values), max(values)
    logarithmic = low > 0 and high >= 20 * low
    scale = math.log if logarithmic else float
    span = scale(high) - scale(low) or 1.0
    return [(scale(value) - scale(low)) / span for value in values], f"{low:.3g}", f"{high:.3g}"


def _mixtures(done: Sequence[Trial]) -> list[tuple[str, np.ndarray]]:
    """Returns (field, weights [trials, keys]) of each mixture with three keys or more."""
    found = []
    for path, value in done[0].values.items():
        if isinstance(value, dict):
            rows = []
            for trial in done:
                last = list(trial.values[path].values())[-1]
                rows.append(list((last if isinstance(last, dict) else trial.values[path]).values()))
            if len(rows[0]) > 2:
                found.append((path, np.array(rows)))
    return found


def _simplex(path: str, weights_NK: np.ndarray, results: SearchResults, done: Sequence[Trial]) -> Canvas:
    """Draws a simplex as a regular polygon. A corner is one key alone, the centre has equal weights."""
    first = next(trial.values[path] for trial in done)
    last = list(first.values())[-1]
    keys = list(last if isinstance(last, dict) else first)
    angles = np.pi / 2 - 2 * np.pi * np.arange(len(keys)) / len(keys)
    corners_K2 = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    shares = weights_NK / weights_NK.sum(axis=1, keepdims=True)
    with style():
        figure, axes = panel(left=0.1, bottom=0.12)
        axes.fill(*corners_K2.T, facecolor="none", edgecolor=COLORS["axis"][0], linewidth=0.8)
        for key, (x, y) in zip(keys, corners_K2, strict=True):
            axes.annotate(str(key), (1.12 * x, 1.12 * y), ha="center", va="center", fontsize=8)
        for (x, y), trial, opacity in zip(
            shares @ corners_K2, done, _opacities(done, results.objectives[0]), strict=True
        ):
            best = trial.name == results.best
            axes.plot(x, y, "o", color=_BEST if best else _OTHERS, alpha=opacity, markersize=8 if best else 5)
        axes.set_title(shortened(path.split(".", 1)[-1]))
        axes.set_aspect("equal")
        axes.axis("off")
        axes.set_xlim(-1.35, 1.35)
        axes.set_ylim(-1.25, 1.25)
    return figure


def _order(results: SearchResults, done: Sequence[Trial]) -> Canvas:
    values = np.array([trial.objectives[results.objectives[0]] for trial in done])
    with style():
        figure, axes = panel()
        axes.plot(range(1, len(values) + 1), values, "o", color=_OTHERS, markersize=4)
        axes.step(range(1, len(values) + 1), np.maximum.accumulate(values), where="post", color=_BEST)
        axes.set_title("Best so far")
        axes.set_xlabel("trial")
        axes.set_ylabel(shortened(f"{results.objectives[0]} of {results.metric}"))
    return figure


def _bars(importance: Mapping[str, float]) -> Canvas:
    with style():
        figure, axes = panel(left=1.1)
        places = range(len(importance))
        axes.barh(places, list(importance.values()), color=_OTHERS)
        axes.set_yticks(places, labels=[shortened(name) for name in _last_parts(list(importance))])
        axes.invert_yaxis()
        axes.set_title("Importance")
        axes.set_xlabel("share of the variance")
    return figure


def _looks(best: Trial, results: SearchResults) -> Canvas:
    steps, values = zip(*best.looks, strict=True)
    with style():
        figure, axes = panel()
        axes.plot(steps, values, "o-", color=_BEST, markersize=4)
        axes.set_title("The best trial")
        axes.set_xlabel("step")
        axes.set_ylabel(results.objectives[0])
    return figure


def _alt(results: SearchResults, done: Sequence[Trial]) -> str:
    return f"Parallel coordinates of {len(done)} trials: values of the job and {', '.join(results.objectives)}"


def _importance_alt(importance: Mapping[str, float]) -> str:
    return "Importance: " + ", ".join(f"{name} {share:.2f}" for name, share in importance.items())
