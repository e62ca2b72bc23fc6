"""Puts the page together: figures, tables and facts go into the template beside this file."""

from __future__ import annotations

import datetime
import io
from pathlib import Path
from typing import Any

import jinja2

from blear.evaluate.summarise import number
from blear.job import CLEAN
from blear.report.faces import face_levels, sample_faces
from blear.report.figures import COLORS, curve, learning, svg
from blear.report.files import RunFiles, read_results, read_run
from blear.report.outcome import outcome
from blear.runfolder import write_bytes, write_text

_DPI = 160


def build(run: Path) -> Path:
    """Writes report.html: one page that loads nothing from elsewhere.

    Returns:
        Its path.

    Raises:
        RunError: the run is not evaluated, or a file of it is missing or damaged.
    """
    files = read_run(run)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("blear.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "component": component, "duration": duration, "moment": moment}
    page = environment.get_template("report.html.j2").render(_facts(files))
    path = run / "report.html"
    write_text(path, page)
    return path


def curve_png(run: Path, path: Path) -> Path:
    """Writes the robustness curve of an evaluated run as a PNG picture.

    Raises:
        RunError: the run is not evaluated, or a file of it is missing or damaged.
    """
    buffer = io.BytesIO()
    curve(*read_results(run)).savefig(buffer, format="png", dpi=_DPI, facecolor="white")
    write_bytes(path, buffer.getvalue())
    return path


def component(use: Any) -> str:
    """A component as a job names it: `fer/vgg (width=64)`; several are joined by arrows."""
    if isinstance(use, list):
        return " → ".join(component(one) for one in use) or "–"
    if not isinstance(use, dict):
        return str(use)
    params = dict(use)
    name = params.pop("use", "")
    params |= params.pop("params", {}) or {}
    inner = ", ".join(f"{key}={_value(value)}" for key, value in params.items() if value is not None)
    return f"{name} ({inner})" if inner else str(name)


def duration(seconds: float | None) -> str:
    """Seconds for a reader: 12.3 s, 4 min 10 s, 2 h 5 min."""
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(iso: str | None) -> str:
    """An ISO time to the minute; what is none is shown as it is."""
    try:
        return datetime.datetime.fromisoformat(iso or "").strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return iso or "unknown"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _level(files: RunFiles, condition: str, severity: float) -> str:
    """The head of a column of faces; the condition is named where there are several."""
    if condition == CLEAN:
        return condition
    return f"{severity:g}" if len(files.info.sweeps) == 1 or not condition else f"{condition} {severity:g}"


def _facts(files: RunFiles) -> dict[str, Any]:
    info, summary = files.info, files.summary
    curve_text = f"{info.headline.label} of each arm against {info.sweep.parameter}; the numbers are in the next table"
    loss_text = "Training and validation loss of each stage against the step"
    return {
        "info": info,
        "summary": summary,
        "job": files.job,
        "stages": [stage for stage, _ in files.stages],
        "outcome": outcome(summary, info),
        "colors": {arm: COLORS[i % len(COLORS)] for i, arm in enumerate(summary.arms)},
        "with_missed": any(e.with_missed is not None for e in summary.estimates),
        "missed": sum(e.missed for e in summary.estimates if e.metric == summary.metrics[0].name),
        "others": {c: s for c, s in summary.severities().items() if c != info.sweep.condition},
        "curve_wide": svg(curve(summary, info), "curve-wide", curve_text),
        "curve_narrow": svg(curve(summary, info, narrow=True), "curve-narrow", curve_text),
        "learning_wide": svg(learning(files.stages), "learning-wide", loss_text),
        "learning_narrow": svg(learning(files.stages, narrow=True), "learning-narrow", loss_text),
        "faces": sample_faces(files),
        "face_levels": [_level(files, *level) for level in face_levels(files)],
    }
