"""Equivalence of two arms: two one-sided tests (TOST) on the bootstrap distribution of their difference.

Schuirmann 1987. Equivalence at every level needs no correction for multiple tests (Berger 1982).
"""

from __future__ import annotations

import numpy as np

from blear.evaluate.statistics.bootstrap_estimate import BootstrapEstimate, paired_difference
from blear.evaluate.statistics.results import Equivalence
from blear.evaluate.statistics.tested_predictions import TestedPredictions

ALPHA = 0.05


def equivalence_tests(tested: TestedPredictions, margin: float, arm: str, against: str) -> list[Equivalence]:
    """Tests whether the headline metrics of two arms differ by less than a margin.

    The p value of each side is the share of bootstrap resamples whose difference lies beyond the margin on that side.

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
                equivalent=None if p is None else p < ALPHA,
            )
        )
    return [*out, _at_all_levels(out)] if out else out


def tost_p_value(difference: BootstrapEstimate, margin: float) -> float | None:
    """Computes the p value of two one-sided tests that a difference lies within +- margin.

    Returns:
        The larger p value of both sides; None without resamples, or where the difference is undefined.
    """
    defined = difference.distribution_R[np.isfinite(difference.distribution_R)]
    if not np.isfinite(difference.value) or not len(defined) or len(defined) < 0.9 * len(difference.distribution_R):
        return None
    sides = (np.count_nonzero(defined <= -margin), np.count_nonzero(defined >= margin))
    return float((max(sides) + 1) / (len(defined) + 1))


def _at_all_levels(tests: list[Equivalence]) -> Equivalence:
    known = [test.p for test in tests if test.p is not None]
    largest = max(known) if len(known) == len(tests) else None
    overall = {"condition": None, "severity": None, "difference": None, "low": None, "high": None, "p": largest}
    return tests[0].model_copy(update=overall | {"equivalent": None if largest is None else largest < ALPHA})
