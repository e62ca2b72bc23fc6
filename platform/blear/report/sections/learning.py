"""Learning curves of every stage."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogFormatter, MaxNLocator

from blear.report.drawing import panel, style
from blear.report.figure import Cell, Figure, Panel, slug
from blear.report.run_files import StageLog
from blear.report.run_info import StageInfo
from blear.report.section import Section
from blear.report.text import shortened
from blear.report.theme import arm_color
from blear.report.view import View

_MAX_POINTS = 300


def section(view: View) -> Section | None:
    """Draws loss and validation metrics of each stage of each run; lines: training, dots: validation.

    None if no stage was trained. A stage that was only loaded has no panel.
    """
    panels, rows = [], []
    for number, run in enumerate(view.runs):
        for info, log in run.stages:
            title = info.name if len(view.runs) == 1 else f"{run.info.name}: {info.name}"
            name = f"learning-{slug(info.name)}" + (f"-{number + 1}" if len(view.runs) > 1 else "")
            if not info.steps:
                continue
            panels.append(Panel(name, _alt(title, info, log), canvas(title, "loss", log.loss, log.validation)))
            for metric, (training, validation) in log.metrics.items():
                drawn = canvas(title, metric, training, validation)
                panels.append(Panel(f"{name}-{slug(metric)}", _alt_metric(title, log, metric), drawn))
            rows += _rows(run.info.name, info.name, log)
    if not panels:
        return None
    caption = (
        "Loss and validation metric against the step; lines: training, dots: validation. The loss axis is logarithmic "
        "where the loss spans a decade. The training metric is of the batches of one log line, in training mode."
    )
    return Section("learning", "Learning curves", [Figure("learning", caption, panels, rows)])


def canvas(title: str, quantity: str, training: np.ndarray, validation: np.ndarray) -> Canvas:
    """Draws the loss or the metric of one stage. Curves are [2, N]: step and value."""
    with style():
        figure, axes = panel()
        for index, (points, line) in enumerate(((training, "-"), (validation, "o--"))):
            steps, values = thinned(points)
            if len(steps):
                label = "training" if line == "-" else "validation"
                axes.plot(steps, values, line, color=arm_color(index), markersize=3.5, linewidth=1.2, label=label)
        known = np.concatenate([training[1], validation[1]])
        known = known[np.isfinite(known)]
        if quantity == "loss" and len(known) and known.min() > 0 and known.max() >= 10 * known.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(_PlainLogFormatter())
            axes.yaxis.set_minor_formatter(_PlainLogFormatter(labelOnlyBase=False, minor_thresholds=(1.5, 0.4)))
        axes.set_title(shortened(title))
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_ylabel(quantity)
        if validation.size:
            axes.legend(frameon=False, fontsize=8)
    return figure


class _PlainLogFormatter(LogFormatter):
    """Labels of a logarithmic axis without mathematical text."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def thinned(points: np.ndarray) -> np.ndarray:
    """Reduces a long curve to 300 points, each the mean of equally many neighbours."""
    if points.shape[1] <= _MAX_POINTS:
        return points
    return np.stack([part.mean(axis=1) for part in np.array_split(points, _MAX_POINTS, axis=1)], axis=1)


def _rows(run: str, stage: str, log: StageLog) -> list[dict[str, Cell]]:
    return [
        {"run": run, "stage": stage, "of": split, "step": int(step), "what": quantity, "value": float(f"{value:.6g}")}
        for quantity, training, validation in (
            ("loss", log.loss, log.validation),
            *((metric, *curves) for metric, curves in log.metrics.items()),
        )
        for split, points in (("training", training), ("validation", validation))
        for step, value in points.T.tolist()
    ]


def _alt(title: str, info: StageInfo, log: StageLog) -> str:
    if not log.loss.size:
        return f"Learning curve of {title}: no loss was logged"
    first, last = log.loss[1, 0], log.loss[1, -1]
    return f"Learning curve of {title}: training loss from {first:.4g} to {last:.4g} in {info.steps} steps"


def _alt_metric(title: str, log: StageLog, metric: str) -> str:
    curves = dict(zip(("training", "validation"), log.metrics[metric], strict=True))
    last = [f"{of} {points[1, -1]:.4g}" for of, points in curves.items() if points.size]
    return f"Learning curve of {title}: {metric}, at the end {' and '.join(last)}"
