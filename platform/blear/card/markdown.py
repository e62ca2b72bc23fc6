"""The card as Markdown, to commit beside a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blear.evaluate.compare_markdown import comparison_markdown
from blear.evaluate.markdown import escaped, format_number
from blear.evaluate.statistics.results import RobustnessScore
from blear.evaluate.summary import Summary
from blear.job.schema import CLEAN

LIMITS = (
    "The degradations are synthetic and of fixed strengths: the card ranks models under them, and predicts accuracy on "
    "the videos of a camera only as far as these pictures and degradations are like them.",
    "The pictures are cut faces. Errors of a face detector are no part of the numbers.",
    "Intervals and tests cover the chance of the tested samples, not that of training, of the labels, or of the choice "
    "of the data.",
    "Cards can be compared where suite, version and digest of the data are equal.",
)
"""Sentences on what the numbers mean; docs/card.md has the whole text."""


def headline_table(summary: Summary) -> str:
    """One row for each model: clean accuracy, mean over the degradations, loss, worst level, calibration error."""
    rows = []
    for arm in summary.arms:
        clean = summary.estimate(arm, CLEAN, 0.0)
        ece = next((c.scores.ece for c in summary.calibration if (c.arm, c.condition) == (arm, CLEAN)), None)
        worst = _score(summary, arm, "worst")
        where = f" ({worst.condition} {worst.severity:g})" if worst and worst.severity is not None else ""
        cells = [
            _percent(
                None if clean is None else clean.value, clean.low if clean else None, clean.high if clean else None
            ),
            _of(_score(summary, arm, "mean")),
            _of(_score(summary, arm, "relative_drop")),
            _of(worst) + where,
            "-" if ece is None else f"{100 * ece:.1f}",
        ]
        rows.append([arm, *cells])
    heads = ["Model", "clean, %", "mean of the degradations, %", "relative drop, %", "worst, %", "ECE clean, %"]
    return _table(heads, rows)


def card_markdown(summary: Summary, info: Mapping[str, Any]) -> str:
    """The whole card."""
    data = info["data"]["data"]
    size = f"{data['counts'][info['split']]} samples of split {info['split']}, pictures {data['pictures']}"
    parts = [
        f"# {info['name']}",
        f"{info['description']}. {size}.",
        *(f"**Warning.** {text}." for text in info["warnings"]),
        headline_table(summary),
        "Accuracy with 95 % intervals. Relative drop: mean share of the clean accuracy that is lost. ECE: expected "
        "calibration error of clean pictures, 15 bins.",
        "## Degradations",
        comparison_markdown(summary),
        *_calibration(summary, info["sweeps"]),
        *_slices(summary),
        "## Models",
        _models(info["models"]),
        "## Data and suite",
        _pairs(
            {
                "data": data["use"] + "".join(f", {key}: {value}" for key, value in data["params"].items()),
                "classes": ", ".join(f"{name} {count}" for name, count in data["classes"].items()),
                "left out": ", ".join(f"{name} {count}" for name, count in data["left_out"].items()) or "none",
                "digest of pictures and labels": data["sha256"][:16],
                "terms": data["terms"] or "not stated",
                "suite": f"{info['suite']['name']}, version {info['suite']['version']}, "
                f"digest {info['suite']['sha256'][:16]}, seed {info['seed']}",
                "blear": f"{info['versions'].get('blear', '')}, torch {info['versions'].get('torch', '')}",
                "command": f"`{info['command']}`" if info["command"] else "-",
            }
        ),
        "## What these numbers are good for",
        "\n".join(f"- {sentence}" for sentence in LIMITS),
    ]
    return "\n\n".join(parts) + "\n"


def _calibration(summary: Summary, sweeps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Calibration on clean pictures and at the strongest level of each condition."""
    last = {CLEAN: 0.0} | {sweep["condition"]: sweep["levels"][-1] for sweep in sweeps}
    rows = [
        [
            c.arm,
            c.condition if c.condition == CLEAN else f"{c.condition} {c.severity:g}",
            *(f"{value:.3f}" for value in (c.scores.ece, c.scores.brier, c.scores.nll, c.aurc)),
        ]
        for c in summary.calibration
        if c.severity == last[c.condition]
    ]
    if not rows:
        return []
    return ["## Calibration", _table(["Model", "condition", "ECE", "Brier", "NLL", "AURC"], rows)]


def _slices(summary: Summary) -> list[str]:
    rows = [
        [s.column, s.group, s.arm, _percent(s.value, s.low, s.high), str(s.n) + (" (small)" if s.small else "")]
        for s in summary.slices
        if s.condition == CLEAN
    ]
    if not rows:
        return []
    return ["## Slices of clean pictures", _table(["Column", "value", "model", "accuracy, %", "samples"], rows)]


def _models(models: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for label, facts in models.items():
        matched = ", ".join(f"{ours} = {theirs or 'left out'}" for ours, theirs in facts["matched"].items())
        steps = ", ".join(f"{key} {_joined(value)}" for key, value in facts.get("preprocessing", {}).items())
        notes = "; ".join(text for text in (steps, facts["terms"]) if text)
        digest = facts["sha256"][:16] or "-"
        macs = "-" if facts["macs"] is None else f"{facts['macs'] / 1e6:,.3g}"
        labels = ", ".join(facts["labels"])
        rows.append([label, facts["input"], macs, labels, matched or "equal", digest, notes or "-"])
    return _table(["Model", "input", "million MACs", "labels", "matched", "SHA-256", "notes"], rows)


def _joined(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _score(summary: Summary, arm: str, name: str) -> RobustnessScore | None:
    found = (s for s in summary.scalars if s.arm == arm and s.name == name and (s.condition is None or name == "worst"))
    return next(found, None)


def _of(score: RobustnessScore | None) -> str:
    return "-" if score is None else _percent(score.value, score.low, score.high)


def _percent(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return format_number(None)
    return f"{100 * value:.1f}" + ("" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]")


def _pairs(values: Mapping[str, str]) -> str:
    return _table(["Fact", "value"], values.items())


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(escaped, row))} |" for row in rows)])
