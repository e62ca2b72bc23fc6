"""Robustness: the curves, and all values with their intervals."""

from __future__ import annotations

from blear.evaluate.markdown import format_number, seeds_note
from blear.evaluate.statistics.bootstrap import MIN_CLUSTERS
from blear.job.schema import CLEAN
from blear.report.curves import limits, panel_curve, wide_curve
from blear.report.figure import Cell, Figure, Panel, slug
from blear.report.run_info import Sweep
from blear.report.section import Section
from blear.report.view import View


def section(view: View) -> Section:
    """Shows the headline metric of every arm under every condition."""
    estimates = [e for e in view.summary.estimates if e.metric == view.headline.name]
    return Section(
        "robustness",
        "Robustness",
        [_figure(view)],
        {
            "with_missed": any(e.with_missed is not None for e in view.summary.estimates),
            "per_video": any(e.per_video is not None for e in estimates),
            "seeds_note": seeds_note(view.summary) if view.summary.seeds else "",
            "missed": sum(e.missed for e in estimates),
            "clean": any(view.clean(arm.label) for arm in view.arms),
        },
    )


def _figure(view: View) -> Figure:
    if len(view.sweeps) == 1:
        alt = _alt(view, view.first_sweep)
        panels = [
            Panel("robustness", alt, wide_curve(view, view.first_sweep), wide=True),
            Panel("robustness-narrow", alt, panel_curve(view, view.first_sweep, None, titled=False)),
        ]
    else:
        shared = limits(view)
        panels = [
            Panel(
                f"robustness-{slug(sweep.condition)}", _alt(view, sweep), panel_curve(view, sweep, shared, titled=True)
            )
            for sweep in view.sweeps
        ]
    summary = view.summary
    caption = f"{view.headline.label} against severity"
    if summary.clusters >= MIN_CLUSTERS:
        caption += f"; bands are 95 % intervals, from resamples of {summary.clusters} {summary.cluster}s"
        caption += f" and {len(summary.seeds)} training seeds" if summary.seeds else ""
    caption += "."
    if any(view.clean(arm.label) for arm in view.arms):
        caption += " Dotted: clean frames."
    if view.upper_bounds:
        caption += " Dashed: an upper bound, evaluated on clean frames at every level."
    return Figure("robustness", caption, panels, rows(view), legend=True)


def rows(view: View) -> list[dict[str, Cell]]:
    """Returns a CSV row for every estimate of the summary."""
    order = {sweep.condition: n for n, sweep in enumerate(view.sweeps)} | {CLEAN: -1}
    found = sorted(view.summary.estimates, key=lambda e: order.get(e.condition, len(order)))
    return [
        {
            "arm": e.arm,
            "condition": e.condition,
            "severity": e.severity,
            "metric": e.metric,
            "value": e.value,
            "low": e.low,
            "high": e.high,
            "with_missed": e.with_missed,
            "per_video": e.per_video,
            "n": e.n,
            "missed": e.missed,
            "clusters": e.clusters,
            "face_px": e.face_px,
            "kbps": e.kbps,
        }
        for e in found
    ]


def _alt(view: View, sweep: Sweep) -> str:
    first, last = sweep.levels[0], sweep.levels[-1]
    parts = []
    for arm in view.arms:
        ends = [view.estimate(arm.label, sweep.condition, level) for level in (first, last)]
        values = [format_number(e.value) if e else "not evaluated" for e in ends]
        parts.append(f"{arm.label} from {values[0]} to {values[1]}")
    return (
        f"Line chart of {view.headline.label} under {sweep.condition}, {sweep.parameter} {first:g} to {last:g}: "
        + "; ".join(parts)
    )
