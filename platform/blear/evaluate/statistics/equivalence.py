"""Equivalence of two arms: two one-sided tests (TOST) by the BCa interval of their difference.

Schuirmann 1987. Equivalence at every level needs no correction for multiple tests (Berger 1982).
"""

from __future__ import annotations

import numpy as np

from blear.evaluate.statistics.bootstrap_estimate import BootstrapEstimate, paired_difference
from blear.evaluate.statistics.results import ALPHA, Equivalence
from blear.evaluate.statistics.tested_predictions import TestedPredictions

MIN_RESAMPLES = 20
"""The smallest number of bootstrap resamples that can reach a p value below 5 %."""


def equivalence_tests(tested: TestedPredictions, margin: float, arm: str, against: str) -> list[Equivalence]:
    """Tests whether the headline metrics of two arms differ by less than a margin.

    The arms are equivalent at a level if the 90 % interval of their difference lies within the margins. The p value is
    computed from the same interval (`tost_p_value`), so that both always agree.

    Returns:
        One test for each level of both arms, then one test of all levels, whose p value is the largest of theirs.
        Empty where the arms have no common level.
    """
    out = []
    for name, condition, severity in tested.groups:
        base = (against, condition, severity)
        if name != arm or base not in tested.groups:
            continue
        key = (name, condition, severity)
        difference = paired_difference(tested.estimate(key), tested.estimate(base))
        low, high = tested.interval(difference, key, base, confidence=1 - 2 * ALPHA)
        p = tost_p_value(difference, margin) if tested.has_enough_clusters(key, base) else None
        out.append(
            Equivalence(
                arm=arm,
                against=against,
                condition=condition,
                severity=severity,
                metric=tested.headline.name,
                margin=margin,
                difference=float(difference.value) if np.isfinite(difference.value) else None,
                low=low,
                high=high,
                p=p,
                equivalent=None if p is None or low is None or high is None else -margin < low and high < margin,
            )
        )
    return [*out, _at_all_levels(out)] if out else out


def tost_p_value(difference: BootstrapEstimate, margin: float) -> float | None:
    """Computes the p value of two one-sided tests that a difference lies within +- margin.

    p is below alpha if and only if the BCa interval of confidence 1 - 2 alpha lies within the margins.

    Returns:
        The larger p value of both sides; None without enough resamples, or where the difference is undefined.
    """
    negated = BootstrapEstimate(-difference.value, -difference.distribution_R, -difference.jackknife_J)
    sides = [side.p_above(-margin) for side in (difference, negated)]
    known = [p for p in sides if p is not None]
    return max(known) if len(known) == len(sides) and len(difference.distribution_R) >= MIN_RESAMPLES else None


def _at_all_levels(tests: list[Equivalence]) -> Equivalence:
    known = [test.p for test in tests if test.p is not None]
    largest = max(known) if len(known) == len(tests) else None
    overall = {"condition": None, "severity": None, "difference": None, "low": None, "high": None, "p": largest}
    equivalent = None if largest is None else all(test.equivalent for test in tests)
    return tests[0].model_copy(update=overall | {"equivalent": equivalent})
