"""The worst mistakes of every arm, with the face."""

from __future__ import annotations

from dataclasses import dataclass

from blear.evaluate.markdown import format_number
from blear.evaluate.mistakes import MAX_MISTAKES, Mistake, worst_mistakes_by_arm
from blear.report.figure import Figure
from blear.report.levels import clean_place
from blear.report.pictures import picture
from blear.report.section import Section
from blear.report.text import class_name
from blear.report.view import Arm, View


@dataclass(frozen=True)
class Shown:
    """A mistake in words; `picture` is empty where the run kept no face of it."""

    picture: str
    sample: str
    place: str
    said: str
    truth: str


def section(view: View) -> Section | None:
    """None where no arm is wrong."""
    clean = clean_place(view)
    chosen = worst_mistakes_by_arm(view.decisions, (clean.condition, clean.severity), MAX_MISTAKES)
    arms = [
        (
            arm,
            [(title, [_shown(view, arm, m) for m in found]) for title, found in _titled(clean.text, chosen[arm.label])],
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


def _titled(clean: str, parts: tuple[list[Mistake], ...]) -> list[tuple[str, list[Mistake]]]:
    titles = (clean, "other levels")
    return [(title, part) for title, part in zip(titles, parts, strict=True) if part]


def _shown(view: View, arm: Arm, mistake: Mistake) -> Shown:
    sweep = next((s for s in view.sweeps if s.condition == mistake.condition), None)
    place = "clean" if sweep is None else f"{sweep.parameter} {mistake.severity:g}"
    if sweep is not None and len(view.sweeps) > 1:
        place = f"{sweep.condition}, {place}"
    frame = arm.run.faces.mistakes.get((mistake.sample, mistake.condition, mistake.severity))
    if view.classes:
        said = f"{class_name(mistake.prediction, view.classes)} {100 * mistake.error:.0f} %"
        truth = f"{class_name(mistake.truth, view.classes)} {100 * (mistake.truth_probability or 0):.0f} %"
    else:
        said, truth = format_number(mistake.prediction), format_number(mistake.truth)
    return Shown("" if frame is None else picture(frame), mistake.sample, place, said, truth)
