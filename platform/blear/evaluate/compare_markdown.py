"""Formats a comparison of runs as Markdown tables: estimates, tests, robustness and rate-accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blear.evaluate.markdown import escaped, format_number, summary_markdown
from blear.evaluate.statistics.results import cubic_differs
from blear.evaluate.summary import Summary

_NAMES = {
    "mean": "mean",
    "relative_drop": "relative drop",
    "mce": "mCE",
    "relative_mce": "relative mCE",
    "worst": "worst",
    "flip_rate": "flip rate",
}


_METHODS = {
    "permutation": "permutation of clusters",
    "bootstrap": "bootstrap of clusters and seeds",
    "mcnemar": "McNemar's test",
}


def comparison_markdown(summary: Summary) -> str:
    """Formats all tables of a comparison that have rows; those of further targets follow their name."""
    parts = [summary_markdown(summary)]
    for each in (summary, *summary.other_targets):
        tables = [*_tests(each), *_scalars(each), *_equivalence(each), *_bjontegaard(each)]
        parts += [f"{each.target}:", *tables] if tables and summary.other_targets else tables
    return "\n\n".join(parts)


def _p_value(p: float | None) -> str:
    """Formats a p value with three decimals."""
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(map(escaped, heads)) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(map(escaped, row)) + " |" for row in rows)])


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    return format_number(value) + ("" if low is None else f" [{format_number(low)}, {format_number(high)}]")


def _tests(summary: Summary) -> Iterator[str]:
    label = {metric.name: metric.label for metric in summary.metrics}
    for method, what in _METHODS.items():
        rows = []
        for t in (t for t in summary.tests if t.method == method):
            difference = summary.difference(t.arm, t.condition, t.severity) if t.severity is not None else None
            span = (difference.low, difference.high) if difference and t.of_headline else (None, None)
            at = "mean" if t.severity is None else f"{t.severity:g}"
            rows.append(
                [
                    t.arm,
                    t.condition,
                    at,
                    _with_interval(t.difference, *span),
                    _p_value(t.p),
                    _p_value(t.holm),
                ]
            )
        if rows:
            name = label.get(next(t.metric for t in summary.tests if t.method == method), "accuracy")
            yield _table(
                [f"{name} minus {summary.reference}, {what}", "condition", "at", "difference", "p", "Holm"], rows
            )


def _scalars(summary: Summary) -> Iterator[str]:
    names = [n for n in _NAMES if any(s.name == n and (s.condition is None or n == "worst") for s in summary.scalars)]
    rows = []
    for arm in summary.arms:
        found = {s.name: s for s in summary.scalars if s.arm == arm and (s.condition is None or s.name == "worst")}
        cells = []
        for name in names:
            s = found.get(name)  # type: ignore[call-overload]
            where = f" ({s.condition} {s.severity:g})" if s and s.severity is not None else ""
            cells.append("-" if s is None else _with_interval(s.value, s.low, s.high) + where)
        rows.append([arm, *cells])
    if names:
        yield _table(["Robustness", *(_NAMES[name] for name in names)], rows)


def _equivalence(summary: Summary) -> Iterator[str]:
    rows = [
        [
            f"{e.arm}, {e.against}",
            e.condition or "everywhere",
            "-" if e.severity is None else f"{e.severity:g}",
            f"{e.margin:g}",
            _with_interval(e.difference, e.low, e.high) if e.condition else "-",
            _p_value(e.p),
            {True: "yes", False: "no", None: "undefined"}[e.equivalent],
        ]
        for e in summary.equivalence
    ]
    if rows:
        yield _table(
            ["Equivalence (90 % intervals)", "condition", "at", "margin", "difference", "p", "equivalent"], rows
        )


def _bjontegaard(summary: Summary) -> Iterator[str]:
    rows = []
    for b in summary.bd:
        unit = " %" if b.kind == "rate" else ""
        value = b.undefined if b.value is None else _with_interval(b.value, b.low, b.high) + unit
        if b.cubic is not None and cubic_differs(b):
            value += f"; cubic fit {b.cubic:.4g}{unit}"
        if b.per_video is not None:
            value += f"; mean of {b.videos} videos {b.per_video:.4g}{unit}"
        factors = b.factor if b.factor == b.against_factor else f"{b.factor} against {b.against_factor}"
        rows.append(
            [
                f"{b.arm}, {b.against}",
                b.codec,
                factors or "-",
                f"BD-{'rate' if b.kind == 'rate' else b.metric}",
                b.metric,
                value,
            ]
        )
    if rows:
        yield _table(["Rate-accuracy", "codec", "factor", "number", "metric", "value"], rows)
