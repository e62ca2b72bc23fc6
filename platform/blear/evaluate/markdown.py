"""Formats a summary as Markdown, the output of `blear evaluate` and `blear run`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from blear.evaluate.statistics.bootstrap import MIN_CLUSTERS
from blear.evaluate.summary import Summary


def seeds_note(summary: Summary) -> str:
    """Returns the sentence that says whether intervals and tests cover the chance of training."""
    if not summary.seeds:
        return "Each arm is one training with one seed: intervals and tests do not cover the chance of training."
    names = ", ".join(map(str, summary.seeds))
    return (
        f"Each arm is the mean over {len(summary.seeds)} trainings (seeds {names}): intervals and tests resample the "
        f"seeds as well as the {summary.cluster}s."
    )


def summary_markdown(summary: Summary) -> str:
    """Formats the headline metric as one table of arms by severities for each condition, with notes.

    The tables of further targets follow.
    """
    targets = (summary, *summary.other_targets)
    return "\n\n".join(_target_markdown(each, is_named=len(targets) > 1) for each in targets)


def _target_markdown(summary: Summary, *, is_named: bool) -> str:
    label = summary.metrics[0].label + (f" of {summary.target}" if is_named else "")
    parts = [_table(summary, f"{label}, {condition}", condition, _cell) for condition in summary.severities()]
    if any(e.with_missed is not None for e in summary.estimates):
        how = "class prior for missed faces" if summary.without_face == "prior" else "missed faces counted as wrong"
        parts += [
            _table(summary, f"{label}, {condition}, {how}", condition, _cell_with_missed)
            for condition in summary.severities()
        ]
    parts.append(" ".join(_notes(summary)))
    return "\n\n".join(parts)


def format_number(value: float | None) -> str:
    """Formats the value of a metric: three decimals below 10, else four significant digits."""
    if value is None:
        return "undefined"
    return f"{round(value, 3) + 0.0:.3f}" if abs(value) < 10 else f"{value:.4g}"  # + 0.0: never -0.000


def escaped(text: str) -> str:
    """Escapes a name for a cell of a Markdown table: bars separate cells, line breaks end rows."""
    return " ".join(text.replace("|", "\\|").split("\n"))


def _table(summary: Summary, title: str, condition: str, cell: Callable[[Summary, str, str, float], str]) -> str:
    severities = summary.severities()[condition]
    lines = [
        f"| {escaped(title)} | " + " | ".join(f"{s:g}" for s in severities) + " |",
        "| --- |" + " ---: |" * len(severities),
    ]
    lines += [
        f"| {escaped(arm)} | " + " | ".join(cell(summary, arm, condition, s) for s in severities) + " |"
        for arm in summary.arms
    ]
    return "\n".join(lines)


def _cell_with_missed(summary: Summary, arm: str, condition: str, severity: float) -> str:
    e = summary.estimate(arm, condition, severity)
    return "-" if e is None else format_number(e.value if e.with_missed is None else e.with_missed)


def _cell(summary: Summary, arm: str, condition: str, severity: float) -> str:
    e = summary.estimate(arm, condition, severity)
    if e is None:
        return "-"
    test = summary.headline_test(arm, condition, severity)
    mark = "\\*" if test is not None and test.significant else ""
    span = "" if e.low is None else f" [{format_number(e.low)}, {format_number(e.high)}]"
    return format_number(e.value) + mark + span


def _notes(summary: Summary) -> Iterator[str]:
    headline = summary.metrics[0]
    yield f"{headline.label} of {summary.target}, {'higher' if headline.higher_is_better else 'lower'} is better."
    if summary.pool is not None:
        how = summary.pool.score.replace("_", " ")
        yield f"One decision for each {summary.pool.by}: {how} of its rows."
    if summary.clusters < MIN_CLUSTERS:
        yield f"No intervals: only {summary.clusters} {summary.cluster}(s) to resample."
    else:
        yield f"In brackets: 95 % BCa interval, {summary.resamples} resamples of {summary.clusters} {summary.cluster}s."
    if any(test.significant is not None for test in summary.tests):
        yield f"\\*: differs from {summary.reference}, p below 5 % after Holm's correction over all levels and arms."
    if summary.seeds or any(test.significant is not None for test in summary.tests):
        yield seeds_note(summary)
    missed = sum(e.missed for e in summary.estimates if e.metric == headline.name)
    if missed:
        rows = sum(e.n + e.missed for e in summary.estimates if e.metric == headline.name)
        yield f"{missed} of {rows} {'rows' if summary.pool is None else 'decisions'} are excluded: no face was found."
