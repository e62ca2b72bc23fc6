"""Paired tests between arms: exchange of whole clusters, McNemar's, Holm's correction, equivalence (TOST).

Exchange: under the hypothesis that two arms do alike, their answers on a cluster may be swapped (Good 2005, chapter 3);
p counts the observed exchange too (Phipson and Smyth 2010), and is exact where all exchanges are made. Mean over
severities: the same exchanges at all of them. McNemar 1947, exact; Holm 1979; Schuirmann 1987; Berger 1982: equivalence
at every level needs no correction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from blear.evaluate.statistics.clusters import Group
from blear.evaluate.statistics.findings import Equivalence, PairedTest
from blear.evaluate.statistics.spread import Spread, minus
from blear.evaluate.statistics.tested import Tested
from blear.metrics import CLASSIFICATION

ALPHA = 0.05
_SAME = 1e-12


@dataclass(frozen=True)
class _Found:
    arm: str
    condition: str
    severity: float | None
    difference: float
    p: float | None


def paired_tests(tested: Tested) -> list[PairedTest]:
    """Every other arm against the reference: headline metric by exchange, at each severity and in the mean of each
    condition's; and accuracy by McNemar's test where classes are named and samples are independent."""
    exchanged = list(_exchange(tested))
    tests = _corrected(exchanged, tested.reference, tested.headline.name, "permutation")
    if tested.kind == "sample" and tested.classes:
        tests += _corrected(list(_mcnemar(tested)), tested.reference, "accuracy", "mcnemar")
    return tests


def holm(p_T: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the smallest p times their number, the next one less, ..., never falling."""
    order = np.argsort(p_T, kind="stable")
    scaled = np.asarray(p_T, dtype=np.float64)[order] * np.arange(len(order), 0, -1)
    out = np.empty(len(order))
    out[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(p) for p in out]


def exchange_p(difference: float, exchanged_P: np.ndarray, *, exact: bool) -> float | None:
    """Two-sided p of a difference; None where it, or more than a tenth of the exchanges, is undefined."""
    defined = exchanged_P[np.isfinite(exchanged_P)]
    if not np.isfinite(difference) or len(defined) < 0.9 * max(len(exchanged_P), 1):
        return None
    extreme = int(np.count_nonzero(np.abs(defined) >= abs(difference) - _SAME))
    return extreme / len(defined) if exact else (extreme + 1) / (len(defined) + 1)


def mcnemar(right_a_N: np.ndarray, right_b_N: np.ndarray) -> float:
    """Exact McNemar test of two arms on the same samples: 1 where they never differ."""
    only_a = int(np.count_nonzero(right_a_N & ~right_b_N))
    only_b = int(np.count_nonzero(right_b_N & ~right_a_N))
    return float(scipy.stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def equivalence(tested: Tested, margin: float, of: str, against: str) -> list[Equivalence]:
    """Whether two arms' headline metrics differ by less than a margin, at each level that both have and at all of them.

    The p of each side is the share of bootstrap resamples whose difference lies beyond the margin there.
    """
    name = tested.headline.name
    out = []
    for arm, condition, severity in tested.groups:
        other = (against, condition, severity)
        if arm != of or other not in tested.groups:
            continue
        key = (arm, condition, severity)
        difference = minus(tested.spread(key), tested.spread(other))
        low, high = tested.interval(difference, key, other, confidence=1 - 2 * ALPHA)
        p = tost(difference, margin) if tested.enough(key, other) else None
        out.append(
            Equivalence(
                arm=of,
                against=against,
                condition=condition,
                severity=severity,
                metric=name,
                margin=margin,
                difference=_finite(difference.value),
                low=low,
                high=high,
                p=p,
                equivalent=None if p is None else p < ALPHA,
            )
        )
    known = [e.p for e in out if e.p is not None]
    if out:
        worst = max(known) if len(known) == len(out) else None
        everywhere = Equivalence(
            arm=of,
            against=against,
            condition=None,
            severity=None,
            metric=name,
            margin=margin,
            difference=None,
            low=None,
            high=None,
            p=worst,
            equivalent=None if worst is None else worst < ALPHA,
        )
        out.append(everywhere)
    return out


def tost(difference: Spread, margin: float) -> float | None:
    """p of two one-sided tests that a difference lies within +- margin; None without resamples, or undefined."""
    defined = difference.distribution_R[np.isfinite(difference.distribution_R)]
    if not np.isfinite(difference.value) or not len(defined) or len(defined) < 0.9 * len(difference.distribution_R):
        return None
    sides = (np.count_nonzero(defined <= -margin), np.count_nonzero(defined >= margin))
    return float((max(sides) + 1) / (len(defined) + 1))


def _exchange(tested: Tested) -> Iterator[_Found]:
    by_condition: dict[tuple[str, str], list[tuple[float, np.ndarray]]] = {}
    exact = tested.resampler.exact
    for key, base in tested.compared():
        arm, condition, severity = key
        difference = tested.spread(key).value - tested.spread(base).value
        enough = bool(tested.resampler.resamples) and tested.enough(key, base)
        p = None
        if enough:
            exchanged_P = tested.resampler.exchanged(tested.rows(key), tested.rows(base), tested.headline)
            p = exchange_p(difference, exchanged_P, exact=exact)
            by_condition.setdefault((arm, condition), []).append((difference, exchanged_P))
        yield _Found(arm, condition, severity, difference, p)
    for (arm, condition), found in by_condition.items():
        if len(found) > 1:
            difference = float(np.mean([one[0] for one in found]))
            p = exchange_p(difference, np.mean([one[1] for one in found], axis=0), exact=exact)
            yield _Found(arm, condition, None, difference, p)


def _mcnemar(tested: Tested) -> Iterator[_Found]:
    accuracy = CLASSIFICATION[0]
    for key, base in tested.compared():
        right, right_base = _right(tested.groups[key], tested.groups[base])
        if len(right):
            difference = tested.spread(key, accuracy).value - tested.spread(base, accuracy).value
            yield _Found(*key, difference, mcnemar(right, right_base))


def _right(a: Group, b: Group) -> tuple[np.ndarray, np.ndarray]:
    """Which answers are right, on the decisions that both arms have."""
    _, in_a, in_b = np.intersect1d(a.samples_N, b.samples_N, return_indices=True)
    return (a.truth_N == a.prediction_N)[in_a], (b.truth_N == b.prediction_N)[in_b]


def _corrected(found: Sequence[_Found], against: str, metric: str, method: str) -> list[PairedTest]:
    known = [one for one in found if one.p is not None]
    corrected = {id(one): p for one, p in zip(known, holm([one.p or 0.0 for one in known]), strict=True)}
    return [
        PairedTest(
            arm=one.arm,
            against=against,
            condition=one.condition,
            severity=one.severity,
            metric=metric,
            method="mcnemar" if method == "mcnemar" else "permutation",
            difference=_finite(one.difference),
            p=one.p,
            holm=corrected.get(id(one)),
        )
        for one in found
    ]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
