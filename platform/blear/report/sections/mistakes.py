"""The worst mistakes of every arm, with their pictures."""

from __future__ import annotations

from dataclasses import dataclass

from blear.evaluate.markdown import format_number
from blear.evaluate.mistakes import MAX_MISTAKES, Mistake, worst_mistakes_by_arm
from blear.report.figure import Figure
from blear.report.levels import clean_level
from blear.report.pictures import picture_uri
from blear.report.section import Section
from blear.report.text import class_name
from blear.report.view import Arm, View


@dataclass(frozen=True)
class DisplayedMistake:
    """A mistake as shown on the page. `picture` is a data URI, empty where faces.npz has no picture of it."""

    picture: str
    sample: str
    level: str
    predicted: str
    truth: str


def section(view: View) -> Section | None:
    """Returns None where all predictions are correct."""
    clean = clean_level(view)
    chosen = worst_mistakes_by_arm(view.decisions, (clean.condition, clean.severity), MAX_MISTAKES)
    arms = [
        (
            arm,
            [
                (title, [_displayed(view, arm, m) for m in found])
                for title, found in _with_titles(clean.text, chosen[arm.label])
            ],
        )
        for arm in view.arms
        if arm.label in chosen and any(chosen[arm.label])
    ]
    if not arms:
        return None
    rows = [
        {
            "arm": m.arm,
            "condition": m.condition,
            "severity": m.severity,
            "sample": m.sample,
            "truth": class_name(m.truth, view.classes) if view.classes else m.truth,
            "said": class_name(m.prediction, view.classes) if view.classes else m.prediction,
            "badness": m.error,
            "given_to_truth": m.truth_probability,
        }
        for found in chosen.values()
        for part in found
        for m in part
    ]
    return Section("mistakes", "Worst mistakes", [Figure("mistakes", "", [], rows)], {"arms": arms})


def _with_titles(clean: str, parts: tuple[list[Mistake], ...]) -> list[tuple[str, list[Mistake]]]:
    titles = (clean, "other levels")
    return [(title, part) for title, part in zip(titles, parts, strict=True) if part]


def _displayed(view: View, arm: Arm, mistake: Mistake) -> DisplayedMistake:
    sweep = next((s for s in view.sweeps if s.condition == mistake.condition), None)
    level = "clean" if sweep is None else f"{sweep.parameter} {mistake.severity:g}"
    if sweep is not None and len(view.sweeps) > 1:
        level = f"{sweep.condition}, {level}"
    frame = arm.run.faces.mistakes.get((mistake.sample, mistake.condition, mistake.severity))
    if view.classes:
        predicted = f"{class_name(mistake.prediction, view.classes)} {100 * mistake.error:.0f} %"
        truth = f"{class_name(mistake.truth, view.classes)} {100 * (mistake.truth_probability or 0):.0f} %"
    else:
        predicted, truth = format_number(mistake.prediction), format_number(mistake.truth)
    return DisplayedMistake("" if frame is None else picture_uri(frame), mistake.sample, level, predicted, truth)
