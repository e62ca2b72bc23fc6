"""Tests: paired differences from the reference with corrected p values, and equivalence."""

from __future__ import annotations

from blear.evaluate.markdown import seeds_note
from blear.evaluate.statistics.results import Equivalence, PairedTest
from blear.report.figure import Figure
from blear.report.section import Section
from blear.report.view import View

_METHODS = {
    "permutation": "Permutation test: predictions of two arms swapped in whole clusters",
    "bootstrap": "Bootstrap test: resamples of clusters and training seeds, inverted from the BCa interval",
    "mcnemar": "McNemar’s exact test of correct predictions",
}
_Cells = dict[tuple[str, str, float | None], PairedTest]


def section(view: View) -> Section | None:
    """Returns None for a single arm."""
    tests, equivalence = view.summary.tests, view.summary.equivalence
    if not tests and not equivalence:
        return None
    methods: dict[str, _Cells] = {}
    for test in tests:
        methods.setdefault(test.method, {})[test.arm, test.condition, test.severity] = test
    others = [arm for arm in view.arms if any(test.arm == arm.label for test in tests)]
    conditions = list(dict.fromkeys(test.condition for test in tests))
    figures = [Figure("tests", "", [], [test.model_dump() for test in tests])] if tests else []
    if equivalence:
        figures.append(Figure("equivalence", "", [], [e.model_dump() for e in equivalence]))
    return Section(
        "tests",
        "Tests",
        figures,
        {
            "seeds_note": seeds_note(view.summary),
            "headline_method": "bootstrap" if view.summary.seeds else "permutation",
            "methods": methods,
            "method_names": _METHODS,
            "others": others,
            "conditions": conditions,
            "levels": {sweep.condition: sweep.levels for sweep in view.sweeps} | {"clean": [0.0]},
            "verdict": lambda test: verdict(test, higher_is_better=view.headline.higher_is_better),
            "equivalence": _grouped(equivalence),
        },
    )


def verdict(test: PairedTest, *, higher_is_better: bool) -> tuple[str, str]:
    """Returns (word, CSS class) for the corrected p value at the 5 % level.

    Only the test of the headline metric has a word, so that a page has one verdict on two arms.
    """
    if not test.of_headline:
        return "", ""
    if test.significant is None or test.difference is None:
        return "untested", ""
    if not test.significant:
        return "undecided", ""
    return ("better", "good") if (test.difference > 0) == higher_is_better else ("worse", "bad")


def _grouped(found: list[Equivalence]) -> list[tuple[Equivalence, list[Equivalence]]]:
    """Returns (test of all levels, tests of each level) of each pair of arms."""
    pairs: dict[tuple[str, str, float], list[Equivalence]] = {}
    for e in found:
        pairs.setdefault((e.arm, e.against, e.margin), []).append(e)
    return [
        (next(e for e in of if e.condition is None), [e for e in of if e.condition is not None])
        for of in pairs.values()
        if any(e.condition is None for e in of)
    ]
