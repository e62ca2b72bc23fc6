"""Markdown tables of the scores of a model under conditions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from blear.job.schema import CLEAN, Evaluate
from blear.models.conditions import MEAN
from blear.models.scores import Score, part_names


class ScoreTables:
    """Tables of the scores from `all_scores`; each is Markdown, empty without rows.

    Args:
        scores: the scores.
        evaluate: the conditions.
    """

    def __init__(self, scores: Sequence[Score], evaluate: Evaluate) -> None:
        self._scores = scores
        sweeps = evaluate.sweeps
        self._averaged = [label for label, sweep in sweeps.items() if MEAN in sweep.group]
        self._parts = part_names(evaluate)
        self._means = list(dict.fromkeys(str(sweep.group[MEAN]) for sweep in sweeps.values() if MEAN in sweep.group))

    def accuracy(self) -> str:
        """Accuracy and calibration error of each condition that belongs to no mean, and the means."""
        ece = {(s.condition, s.severity): s.value for s in self._of("ece")}
        rows = [s for s in self._of("accuracy") if s.condition not in self._averaged and not self._part(s)]
        several = {s.condition for s in rows if sum(other.condition == s.condition for other in rows) > 1}
        lines = []
        for s in rows:
            name = f"{s.condition} {s.severity:g}" if s.condition in several else s.condition
            error = ece.get((s.condition, s.severity))
            lines.append([name, *_percent(s), "" if error is None else f"{100 * error:.1f}"])
        return _table(["condition", "accuracy, %", "95 % interval", "calibration error, %"], lines)

    def parts(self) -> str:
        """Each mean by family and by severity."""
        lines = []
        for s in self._of("accuracy"):
            if self._part(s):
                name = s.condition if s.severity is None else f"{s.condition}: severity {s.severity:g}"
                lines.append([name, *_percent(s)])
        return _table(["part of a mean", "accuracy, %", "95 % interval"], lines)

    def severities(self) -> str:
        """Accuracy of each condition of a mean at each severity, with half of the width of the widest interval."""
        rows = {(s.condition, s.severity): s for s in self._of("accuracy") if s.condition in self._averaged}
        columns = sorted({severity for _, severity in rows if severity is not None})
        lines = []
        for name in self._averaged:
            own = [rows.get((name, severity)) for severity in columns]
            widths = [(s.high - s.low) / 2 for s in own if s is not None and s.high is not None and s.low is not None]
            lines.append(
                [
                    name,
                    *("" if s is None else f"{100 * s.value:.1f}" for s in own),
                    f"{100 * max(widths, default=0):.1f}",
                ]
            )
        return _table(["accuracy, %", *(f"severity {severity:g}" for severity in columns), "interval, +-"], lines)

    def classes(self) -> str:
        """Recall of each class under each condition that belongs to no mean, and on average over a mean."""
        recall = self._of("recall")
        decided = {s.of: s.value for s in self._of("decided")}
        columns = list(dict.fromkeys((s.condition, s.severity) for s in recall))
        lines = []
        for name in dict.fromkeys(s.of for s in recall):
            own = {(s.condition, s.severity): s for s in recall if s.of == name}
            clean = own.get((CLEAN, None))
            cells = [f"{100 * s.value:.1f}" if (s := own.get(key)) is not None else "" for key in columns]
            interval = "" if clean is None else _percent(clean)[1]
            share = f"{100 * decided[name]:.1f}" if name in decided else ""
            lines.append([str(name), str(own[columns[0]].n), share, interval, *cells])
        names = [name for name, _ in columns]
        return _table(["recall, %", "samples", "share of clean decisions", "interval, clean", *names], lines)

    def flips(self) -> str:
        """Flip rates."""
        lines = [[s.condition, *_percent(s)] for s in self._of("flip_rate") if s.condition not in self._averaged]
        return _table(["flip rate of", "%", "95 % interval"], lines)

    def _of(self, metric: str) -> list[Score]:
        return [score for score in self._scores if score.metric == metric]

    def _part(self, score: Score) -> bool:
        """Whether a score is that of a part of a mean."""
        of_severity = score.condition in self._means and score.severity is not None
        return of_severity or score.condition in self._parts


def _percent(score: Score) -> list[str]:
    """Value and interval."""
    if score.low is None or score.high is None:
        return [f"{100 * score.value:.1f}", ""]
    return [f"{100 * score.value:.1f}", f"{100 * score.low:.1f} to {100 * score.high:.1f}"]


def _table(names: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(line)} |" for line in lines]
    rule = f"| --- |{' ---: |' * (len(names) - 1)}"
    return "\n".join([f"| {' | '.join(names)} |", rule, *rows]) if rows else ""
